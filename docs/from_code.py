"""Writes the parts of the pages that come from the code, so that they cannot drift.

    python -m docs.from_code            writes them anew
    python -m docs.from_code --check    only says which are not up to date, and exits with status 1

A part is marked in a page by comments, between which this writes:

    <!-- from code: excerpt sflow_jax/losses.py flow -->
    ...
    <!-- end -->

Parts are the `excerpt` of a file, a function or class without its docstring; the `options` of a
config; and what a command says to `--help`, its `help`.
"""

import ast
import contextlib
import io
import os
import pathlib
import re
import runpy
import sys
import warnings
from collections.abc import Callable
from unittest import mock

from absl import app, flags

from sflow_jax.options import OPTIONS, Option

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

_PART = re.compile(
    r"(<!-- from code: (\w+)((?: [^ \n]+)*) -->\n).*?(<!-- end -->)", re.DOTALL | re.MULTILINE
)
_OPTIONS_FILE = ROOT / "sflow_jax" / "options.py"
_HELP_WIDTH = "100"  # characters of a line


def excerpt(file: str, name: str) -> str:
    """A function, class or constant of a file, without its docstring, as a block of code."""
    source = (ROOT / file).read_text(encoding="utf-8")
    node = _find(ast.parse(source), name)
    lines = source.splitlines()
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    kept = lines[first - 1 : node.end_lineno]
    if getattr(node, "body", None) and ast.get_docstring(node):
        docstring = node.body[0]
        del kept[docstring.lineno - first : docstring.end_lineno - first + 1]
    indent = len(kept[0]) - len(kept[0].lstrip())
    code = "\n".join(line[indent:] for line in kept)
    return f"```python\n# {file}\n{code}\n```\n"


def _find(tree: ast.AST, name: str) -> ast.AST:
    for node in ast.walk(tree):
        names = [getattr(node, "name", None)]
        if isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        if name in names:
            return node
    raise ValueError(f"no {name} in the file")


def options() -> str:
    """A table of the options of each section, under the comments that options.py has for them."""
    text = _OPTIONS_FILE.read_text(encoding="utf-8")
    titles = dict(re.findall(r'^    # ([^\n]+)\n    "(\w+)\.', text, re.MULTILINE))
    titles = {section: title for title, section in titles.items()}
    blocks, current = ["## The run\n\n" + _TABLE_HEAD], ""
    for name, option in OPTIONS.items():
        section = name.partition(".")[0] if "." in name else ""
        if section != current:
            current = section
            blocks.append(f"\n## {section}\n\n{titles.get(section, '')}\n\n{_TABLE_HEAD}")
        blocks.append(_row(name, option))
    return "".join(blocks)


_TABLE_HEAD = "| option | default | may be | meaning |\n| --- | --- | --- | --- |\n"


def _row(name: str, option: Option) -> str:
    default = "" if option.default == "" else f"`{option.default}`"
    later = " (may change when a run is continued)" if option.may_change else ""
    cells = [f"`{name}`", default, option.rule.expected, option.meaning + later]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def help_text(module: str, *subcommand: str) -> str:
    """What `python -m MODULE [SUBCOMMAND] --help` prints, as a block of text."""
    app.define_help_flags()
    known, printed = set(flags.FLAGS), io.StringIO()
    with (
        mock.patch.object(sys, "argv", [module, *subcommand, "--help"]),
        mock.patch.dict(os.environ, COLUMNS=_HELP_WIDTH),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
        warnings.catch_warnings(action="ignore", category=RuntimeWarning),  # it was imported before
    ):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    for flag in set(flags.FLAGS) - known:
        delattr(flags.FLAGS, flag)
    flags.FLAGS.unparse_flags()
    text = printed.getvalue().replace(f"{ROOT}/", "")
    return "```text\n" + "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n```\n"


_KINDS: dict[str, Callable[..., str]] = {
    "excerpt": excerpt,
    "options": options,
    "help": help_text,
}


def renewed(page: str) -> str:
    """A page with its marked parts written anew."""

    def renew(match: re.Match) -> str:
        return match[1] + "\n" + _KINDS[match[2]](*match[3].split()) + "\n" + match[4]

    return _PART.sub(renew, page)


def main() -> int:
    """Writes the pages that are not up to date, or names them; the status to exit with."""
    only_checks = "--check" in sys.argv
    found = 0
    for path in sorted(HERE.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if (new := renewed(page)) != page:
            found += 1
            print(f"{path.relative_to(ROOT)}: {'not up to date' if only_checks else 'written'}")
            if not only_checks:
                path.write_text(new, encoding="utf-8")
    return int(only_checks and found > 0)


if __name__ == "__main__":
    sys.exit(main())
