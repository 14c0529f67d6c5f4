"""Makes a page of every source file that the documentation links to, as GitHub has it.

A link such as `../sflow_jax/losses.py` leads to the file on GitHub, and here to source/…, a page of
its own; a link to a folder leads to a list of the files in it, which have pages as well.
"""

import html
import pathlib
import re
from collections.abc import Iterator

from sphinx.util.osutil import relative_uri

ROOT = pathlib.Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\]\(\.\./([\w./-]*[\w/])(?:#[\w-]*)?\)")
_LANGUAGES = {".py": "python", ".md": "markdown", ".json": "json", ".txt": "text"}


def _redirect_links(app, page: str, source: list[str]) -> None:
    """Links out of docs/ get the scheme `source:`, which conf.py turns into addresses."""
    found = {path.rstrip("/") for path in _LINK.findall(source[0])}
    # Kept between builds, which read only the pages that have changed.
    app.env.source_links = getattr(app.env, "source_links", set()) | found
    source[0] = _LINK.sub(lambda match: f"](source:{match[1].rstrip('/')})", source[0])


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """What a page of a folder lists: its folders and the files that are text."""
    return sorted(
        entry
        for entry in path.iterdir()
        if not entry.name.startswith(("_", "."))
        and (entry.is_dir() or entry.suffix in _LANGUAGES or entry.name == "Makefile")
    )


def _pages(app) -> Iterator[tuple[str, dict, str]]:
    waiting, done = sorted(getattr(app.env, "source_links", ())), set()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        path = ROOT / name
        if path.is_dir():
            listed = [str(entry.relative_to(ROOT)) for entry in _files(path)]
            waiting += listed
            body = _listing(name, listed)
        else:
            body = _highlighted(app.builder.highlighter, path)
        title = html.escape(name)
        yield f"source/{name}", {"title": title, "body": f"<h1>{title}</h1>\n{body}"}, "page.html"


def _listing(name: str, listed: list[str]) -> str:
    here = f"source/{name}.html"
    links = (
        f'<li><a href="{relative_uri(here, f"source/{entry}.html")}">{html.escape(entry)}</a></li>'
        for entry in listed
    )
    return "<ul>\n" + "\n".join(links) + "\n</ul>"


def _highlighted(highlighter, path: pathlib.Path) -> str:
    language = _LANGUAGES.get(path.suffix, "text")
    return highlighter.highlight_block(path.read_text(encoding="utf-8"), language)


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("source-read", _redirect_links)
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": False}
