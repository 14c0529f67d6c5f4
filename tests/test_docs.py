"""What pages and configs name exists: links, headings, files, commands with flags, options."""

import pathlib
import re

import pytest

from configs import default

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
GUIDES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *NOTEBOOKS,
]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
# The changelog's links have to work, but it may name what is gone.
PAGES = [*GUIDES, ROOT / "CHANGELOG.md"]

_CODE_BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FILE = re.compile(
    r"(?<![\w/.+-])((?:sflow_jax|configs|docs|benchmarks|tests|colab)/[\w./-]*[\w/])"
)
_COMMAND = re.compile(r"python -m ((?:sflow_jax|benchmarks|tests)[\w.]*\w)((?:\\\n|[^`\n])*)")
_MAKE = re.compile(r"`make ([a-z][\w-]*)")
_MAKE_IN_BLOCK = re.compile(r"^make ([a-z][\w-]*)", re.MULTILINE)


def name(path):
    return str(path.relative_to(ROOT))


def prose(page):
    return _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page):
    """The headings of a page as GitHub names them in links."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def make_targets(page):
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(_CODE_BLOCK.findall(text))
    return {*_MAKE.findall(text), *_MAKE_IN_BLOCK.findall(blocks)}


def is_command(file):
    text = file.read_text(encoding="utf-8")
    return file.name == "__main__.py" or '\nif __name__ == "__main__":' in text


def runnable(module):
    """The file that `python -m MODULE` runs, or None."""
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__main__.py"):
        if file.is_file() and is_command(file):
            return file
    return None


def commands(page):
    return _COMMAND.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_files_and_headings(page):
    broken = []
    for link in _LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        is_there = target.is_relative_to(ROOT) and target.exists()
        if not is_there or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", [*GUIDES, *CONFIGS], ids=name)
def test_named_files_exist(page):
    text = _LINK.sub("", page.read_text(encoding="utf-8"))
    named = set(_FILE.findall(text)) - {"benchmarks/results/NAME.json"}
    assert [file for file in sorted(named) if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("page", [*GUIDES, *CONFIGS], ids=name)
def test_named_commands_can_be_run(page):
    assert [module for module, _ in commands(page) if not runnable(module)] == []


@pytest.mark.parametrize("page", [*GUIDES, *CONFIGS], ids=name)
def test_flags_of_named_commands_exist(page):
    unknown = []
    for module, arguments in commands(page):
        shared = ("sflow_jax/cli.py", "benchmarks/options.py", "benchmarks/measure.py")
        files = [runnable(module), *(ROOT / file for file in shared)]
        source = "".join(file.read_text(encoding="utf-8") for file in files if file)
        flags = re.findall(r"--(\w+)", arguments.split(" #")[0])
        unknown += [f"{module} --{flag}" for flag in flags if not re.search(f'["-]{flag}"', source)]
    assert unknown == []


@pytest.mark.parametrize("page", [*GUIDES, *CONFIGS], ids=name)
def test_named_options_exist(page):
    text = page.read_text(encoding="utf-8")
    config = default.get_config()
    sections = "|".join(key for key in config if hasattr(config[key], "keys"))
    named = set(re.findall(r"--config\.([\w.]+)=", text))
    named |= set(re.findall(rf"`((?:{sections})\.\w+)`", text))
    known = {f"{key}.{field}" for key in sections.split("|") for field in config[key]}
    assert sorted(named - known - set(config) - {"NAME"}) == []


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    assert set().union(*map(make_targets, GUIDES)) == targets


@pytest.mark.parametrize(
    ("package", "page"), [("sflow_jax", "docs/commands.md"), ("benchmarks", "docs/performance.md")]
)
def test_every_command_is_listed(package, page):
    files = filter(is_command, (ROOT / package).rglob("*.py"))
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    row = re.compile(r"^\|.*?`(?:python -m )?((?:sflow_jax|benchmarks)\.[\w.]+)`", re.MULTILINE)
    listed = set(row.findall((ROOT / page).read_text(encoding="utf-8")))
    assert {module.removesuffix(".__main__") for module in modules} <= listed
