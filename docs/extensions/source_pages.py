"""Makes a page of every source file that the documentation links to, as GitHub has it.

A link such as `../sflow_jax/losses.py` leads to the file on GitHub, and here to source/…, a page of
its own. That of a folder lists what is in it, with the first line of each docstring.
"""

import ast
import html
import pathlib
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
_LINK = re.compile(r"\]\(\.\./([\w./-]*[\w/])(?:#[\w-]*)?\)")
_LANGUAGES = {".py": "python", ".md": "markdown", ".json": "json", ".txt": "text"}


def _redirect_links(app, page: str, source: list[str]) -> None:
    """Links out of docs/ get the scheme `source:`, which conf.py turns into addresses."""
    found = {path.rstrip("/") for path in _LINK.findall(source[0])}
    # Kept between builds, which read only the pages that have changed.
    app.env.source_links = getattr(app.env, "source_links", set()) | found
    source[0] = _LINK.sub(lambda match: f"](source:{match[1].rstrip('/')})", source[0])


def _pages(app) -> Iterator[tuple[str, dict, str]]:
    links = getattr(app.env, "source_links", set())
    for name in sorted(links):
        path = ROOT / name
        if path.is_dir():
            body = "".join(_entry(entry, links) for entry in sorted(path.iterdir()))
            body = f"<ul>{body}</ul>"
        else:
            body = _highlighted(app.builder.highlighter, path)
        title = html.escape(name)
        yield f"source/{name}", {"title": title, "body": f"<h1>{title}</h1>\n{body}"}, "page.html"


def _entry(path: pathlib.Path, links: set[str]) -> str:
    """An item of the list of a folder; only what pages link to has a page as well."""
    if path.name.startswith(("__pycache__", ".")):
        return ""
    name, shown = str(path.relative_to(ROOT)), f"<code>{html.escape(path.name)}</code>"
    if name in links:
        shown = f'<a href="{html.escape(f"{path.parent.name}/{path.name}")}.html">{shown}</a>'
    return f"<li>{shown} {html.escape(_summary(path))}</li>"


def _summary(path: pathlib.Path) -> str:
    """The first line of the docstring of a module or package; '' where there is none."""
    file = path / "__init__.py" if path.is_dir() else path
    if file.suffix != ".py" or not file.is_file():
        return ""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


def _highlighted(highlighter, path: pathlib.Path) -> str:
    language = _LANGUAGES.get(path.suffix, "text")
    return highlighter.highlight_block(path.read_text(encoding="utf-8"), language)


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("source-read", _redirect_links)
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": False}
