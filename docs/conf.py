"""The documentation as a site: `make docs` writes docs/_build/html/index.html.

The pages are Markdown that reads the same on GitHub. What only a site has, its menu and the source
files that pages link to, extensions beside this file add.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

project = "S-Flow GAN in JAX"
author = "The authors of S-Flow GAN in JAX"
copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "menu",
    "native_math",
    "source_pages",
]
exclude_patterns = ["_build"]
nitpicky = False  # types of JAX and Flax are not links

smartquotes = False  # which turns --flags and empty quotes in tables into others

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # named as on GitHub
myst_url_schemes = {"http": None, "https": None, "source": "source/{{path}}.html"}

napoleon_use_ivar = True
napoleon_custom_sections = [("Arrays of an example with T frames", "params_style")]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
add_module_names = False

html_math_renderer = "native"
html_theme = "furo"
html_title = project
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]


def _escape_bars(app, what, name, obj, options, lines: list[str]) -> None:
    """In docstrings a bar is a magnitude, in reStructuredText the begin of a substitution."""
    lines[:] = [line.replace("|", "\\|") for line in lines]


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _escape_bars)
