"""I3D's weights from pytorch-i3d's file and from DeepMind's TensorFlow checkpoint.

The checkpoints are written here, with random values under the published names.
"""

import hashlib
import sys

import jax
import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.pretrained import conversion, weights
from sflow_jax.pretrained import i3d as our_i3d
from tests.parity import i3d

# SHA-256 of the lines "NAME [SIDES]" of DeepMind's rgb_imagenet/model.ckpt.index (Git blob
# 5ab1058b8f4f of kinetics-i3d), sorted by name.
TENSORFLOW_VARIABLES = "f84debc40d9af1db8c40eb7da641b78db930e110b1d12f628b6a250617ac0b3e"


def hash_of_variables(rules):
    lines = sorted(f"{name} {list(rules.shapes[path])}" for path, name in rules.keys.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_names_and_shapes_are_those_of_the_tensorflow_checkpoint(monkeypatch):
    assert len(our_i3d.tensorflow_conversion().keys) == 230
    assert hash_of_variables(our_i3d.tensorflow_conversion()) == TENSORFLOW_VARIABLES
    monkeypatch.setattr(our_i3d, "_TENSORFLOW_SLIPS", {})
    assert hash_of_variables(our_i3d.tensorflow_conversion()) != TENSORFLOW_VARIABLES


def test_misnamed_branch_is_found(monkeypatch):
    """Mixed_5b has a Conv3d_0a_3x3 where every other block has a Conv3d_0b_3x3."""
    tensors = i3d.tensorflow_checkpoint()
    name = "RGB/inception_i3d/Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w"
    converted = conversion.convert_tensors(tensors, our_i3d.tensorflow_conversion(), "model.ckpt")
    np.testing.assert_array_equal(
        converted["params"]["Mixed_5b"]["b2b"]["conv3d"]["kernel"], tensors[name]
    )
    monkeypatch.setattr(our_i3d, "_TENSORFLOW_SLIPS", {})
    with pytest.raises(InputError, match=r"4 missing: .* 4 left over: "):
        conversion.convert_tensors(tensors, our_i3d.tensorflow_conversion(), "model.ckpt")


@pytest.mark.parametrize("is_legacy", [True, False], ids=["as published", "as PyTorch >= 1.6"])
def test_pytorch_checkpoint_is_converted(tmp_path, is_legacy):
    torch = pytest.importorskip("torch")
    tensors = {key: torch.from_numpy(x) for key, x in i3d.checkpoint().items()}
    assert len(tensors) == 5 * 57 + 2
    if not is_legacy:
        for key in [key for key in tensors if key.endswith("running_mean")]:
            tensors[key.replace("running_mean", "num_batches_tracked")] = torch.tensor(1)
    path = tmp_path / "rgb_imagenet.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=not is_legacy)
    weights.main(["convert", "i3d", "--from", str(path), "--cache_dir", str(tmp_path)])
    found = our_i3d.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, found, i3d.random_variables())


def test_every_key_of_the_pytorch_checkpoint_counts():
    tensors, rules = i3d.checkpoint(), our_i3d.conversion()
    converted = conversion.convert_tensors(tensors, rules, "x.pt")
    jax.tree.map(np.testing.assert_array_equal, converted, i3d.random_variables())
    tensors["Mixed_5c.b3c.conv3d.weight"] = np.zeros(3)
    del tensors["Mixed_5b.b2b.bn.weight"]
    message = (
        r"x\.pt: .*1 missing: Mixed_5b\.b2b\.bn\.weight; 1 left over: Mixed_5c\.b3c\.conv3d\.weight"
    )
    with pytest.raises(InputError, match=message):
        conversion.convert_tensors(tensors, rules, "x.pt")


@pytest.fixture(scope="module")
def tensorflow():
    return pytest.importorskip("tensorflow")


def save_tensorflow(tensorflow, folder, tensors):
    """Writes model.ckpt.index and model.ckpt.data-00000-of-00001, as published; no graph."""
    names = list(tensors)
    tensorflow.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tensors[name] for name in names],
    )


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001"])
def test_tensorflow_checkpoint_is_converted(tensorflow, tmp_path, suffix):
    save_tensorflow(tensorflow, tmp_path, i3d.tensorflow_checkpoint())
    checkpoint = tmp_path / f"model.ckpt{suffix}"
    weights.main(["convert", "i3d", "--from", str(checkpoint), "--cache_dir", str(tmp_path)])
    found = our_i3d.load(tmp_path)

    def check(path, values, expected):
        is_scale = path[-1].key == "scale"
        np.testing.assert_array_equal(values, np.ones_like(values) if is_scale else expected)

    jax.tree_util.tree_map_with_path(check, found, i3d.random_variables())


def convert_in_vain(capsys, name, checkpoint):
    """The line that the command ends with."""
    folder = str(checkpoint.parent)
    with pytest.raises(SystemExit) as exit_info:
        weights.main(["convert", name, "--from", str(checkpoint), "--cache_dir", folder])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_tensorflow_checkpoints_that_do_not_fit_are_one_line(tensorflow, tmp_path, capsys):
    save_tensorflow(tensorflow, tmp_path, {"global_step": np.zeros(())})
    checkpoint = tmp_path / "model.ckpt"
    error = convert_in_vain(capsys, "i3d", checkpoint)
    assert "230 missing: RGB/inception_i3d/Conv3d_1a_7x7/batch_norm/beta, " in error
    assert "1 left over: global_step" in error
    error = convert_in_vain(capsys, "vgg19", checkpoint)
    assert f"{checkpoint}.index: found a TensorFlow checkpoint, expected PyTorch's" in error
    (tmp_path / "model.ckpt.index").write_bytes(b"damaged")
    error = convert_in_vain(capsys, "i3d", checkpoint)
    assert error.startswith(f"error: {checkpoint}.index: ")
    assert error.endswith("expected a TensorFlow checkpoint\n")


def test_missing_tensorflow_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "model.ckpt.index").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    error = convert_in_vain(capsys, "i3d", tmp_path / "model.ckpt")
    assert error == ("error: TensorFlow is needed to read its checkpoint: pip install tensorflow\n")
