"""The menu of the site: the sections of index.md, and the pages that each of them links to."""

import re

_SECTION = re.compile(r"^## (.+?)$(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_PAGE = re.compile(r"\]\((\w+)\.md\)")


def menu(index: str) -> str:
    """A hidden tree of contents for each section of a page that links to others.

    Args:
        index: the page, Markdown.

    Returns:
        Markdown to put at its end.
    """
    trees = []
    for caption, text in _SECTION.findall(index):
        pages = "\n".join(dict.fromkeys(_PAGE.findall(text)))
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n")
    return "\n".join(trees)


def _append_menu(app, page: str, source: list[str]) -> None:
    if page == app.config.root_doc:
        source[0] += "\n" + menu(source[0])


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("source-read", _append_menu)
    return {"parallel_read_safe": True}
