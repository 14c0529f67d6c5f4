"""Formulas as MathML, which browsers draw themselves: no script, and no server for one."""

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging


def _visit(translator, node: nodes.Node) -> None:
    is_block = isinstance(node, nodes.math_block)
    try:
        drawn = latex2mathml.tex2mathml(node.astext().strip(), as_block=is_block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s: %s", node.astext(), error, location=node)
        drawn = ""
    translator.body.append(f'<div class="math">{drawn}</div>\n' if is_block else drawn)
    raise nodes.SkipNode


def setup(app) -> dict:
    """Called by Sphinx."""
    renderers = (_visit, None)
    app.add_html_math_renderer("native", inline_renderers=renderers, block_renderers=renderers)
    return {"parallel_read_safe": True}
