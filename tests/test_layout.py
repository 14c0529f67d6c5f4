"""The house: which part may know which, and the public face."""

import ast
import collections
import pathlib
import subprocess
import sys
import textwrap

import pytest

import sflow_jax
from sflow_jax import configuration, losses
from sflow_jax.models.layers import UPSAMPLINGS
from sflow_jax.options import OPTIONS, one_of
from sflow_jax.pretrained.perceptual import load_perceptual_network

PACKAGE = pathlib.Path(sflow_jax.__file__).parent


def imports(path):
    """The modules of the package that a file imports, anywhere in it but for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sflow_jax"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("sflow_jax."))


def parts():
    """What each package, or module at the top, imports of the others."""
    found = collections.defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own != "__init__":
            found[own] |= {module.split(".")[1] for module in imports(path)} - {own}
    return found


def test_no_two_parts_import_each_other():
    known = parts()
    mutual = {
        tuple(sorted((one, other)))
        for one, others in known.items()
        for other in others
        if one in known[other]
    }
    assert not mutual
    assert "methods" in known["training"]  # the graph is not empty


@pytest.mark.parametrize("part", ["ops", "models", "losses", "metrics"])
def test_plain_functions_and_modules_need_no_tensorflow_no_flags_and_no_config(part):
    files = [PACKAGE / "losses.py"] if part == "losses" else (PACKAGE / part).glob("*.py")
    for path in files:
        text = path.read_text(encoding="utf-8")
        for module in ("tensorflow", "absl", "ml_collections", "sflow_jax.configuration"):
            assert f"import {module}" not in text, path
            assert f"from {module}" not in text, path


_KINDS_OF_METHODS = ("image_method", "clip_method")


def test_training_knows_methods_by_their_interface_only():
    known = {name for path in (PACKAGE / "training").glob("*.py") for name in imports(path)}
    methods = {name for name in known if name.startswith("sflow_jax.methods")}
    assert methods
    interface = tuple(f"sflow_jax.methods.{name}." for name in ("base", *_KINDS_OF_METHODS))
    others = {name for name in methods if not name.startswith(interface)}
    assert others == {"sflow_jax.methods.create_method", "sflow_jax.methods.method_class"}


def test_only_these_files_know_the_platform():
    files = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "default_backend" in path.read_text(encoding="utf-8")
    }
    assert files == {"ops/forms.py", "training/state.py", "training/cost.py"}


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("loss.adversarial", losses.ADVERSARIAL_FORMS),
        ("loss.feature_weighting", losses.FEATURE_WEIGHTINGS),
        ("loss.perceptual_weighting", losses.PERCEPTUAL_WEIGHTS),
        ("generator.upsampling", UPSAMPLINGS),
    ],
)
def test_the_options_have_the_choices_of_losses_and_layers(option, choices):
    """They list them again, so that reading a config needs no JAX."""
    assert OPTIONS[option].rule.expected == one_of(*choices).expected
    assert all(map(OPTIONS[option].rule.holds, choices))


def test_the_public_face_is_complete_and_the_import_light():
    for name in sflow_jax.__all__:
        assert callable(getattr(sflow_jax, name)), name
    assert set(sflow_jax.__all__) <= set(dir(sflow_jax))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sflow_jax.nothing  # noqa: B018
    code = "import sys, sflow_jax; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"jax", "numpy", "tensorflow"} & set(loaded.stdout.split())


def test_the_example_in_the_package_needs_no_download():
    lines = sflow_jax.__doc__.splitlines()
    example = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))
    set_up, is_trained, _ = example.partition("sflow_jax.train(config, workdir)")
    assert is_trained
    names = {}
    exec(set_up, names)
    config = names["config"]
    configuration.check(config)
    assert config.data.dataset == "streets"
    assert load_perceptual_network(config)  # one whose weights are in the package
    used = {
        node.attr
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sflow_jax"
    }
    assert used <= set(sflow_jax.__all__)
