"""Weights of the frozen networks: one cache folder of safetensors files, filled by two commands.

    python -m sflow_jax.pretrained.weights get vgg19
    python -m sflow_jax.pretrained.weights convert vgg19 --from vgg19-dcbb9e9d.pth

`get` downloads the published PyTorch checkpoint, checks its SHA-256, converts it and deletes it;
`convert` takes a file that is already there. Both need PyTorch (the extra `convert`), which reads
the checkpoint with `weights_only=True`: nothing in the file is executed. Reading converted weights
needs neither PyTorch nor a network.
"""

import argparse
import dataclasses
import importlib
import os
import pathlib
import sys
from typing import Any

import numpy as np

from sflow_jax.errors import InputError
from sflow_jax.pretrained import conversion, download, variables

CACHE_VARIABLE = "SFLOW_CACHE"
_DEFAULT_CACHE = "~/.cache/sflow_jax"
_COMMAND = "python -m sflow_jax.pretrained.weights"


@dataclasses.dataclass(frozen=True)
class KnownWeights:
    """A published checkpoint.

    Attributes:
        url: where it is published.
        sha256_prefix: the first digits of its SHA-256, as many as its publisher states.
        module: the module of its network, with a function `conversion() -> Conversion`.
    """

    url: str
    sha256_prefix: str
    module: str

    @property
    def file_name(self) -> str:
        """The name of the published file."""
        return self.url.rpartition("/")[2]

    def conversion(self) -> conversion.Conversion:
        """How the checkpoint becomes the variables of its network."""
        return importlib.import_module(self.module).conversion()


REGISTRY = {
    "vgg19": KnownWeights(
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        sha256_prefix="dcbb9e9d",  # torchvision writes the first eight digits into the file name
        module="sflow_jax.pretrained.vgg19",
    ),
    "inception_v3": KnownWeights(
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        sha256_prefix="6726825d",
        module="sflow_jax.pretrained.inception_v3",
    ),
}


def cache_directory(option: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder of the weights: the option, else $SFLOW_CACHE, else ~/.cache/sflow_jax."""
    folder = option or os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE
    return pathlib.Path(folder).expanduser()


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
    path = _file(name, cache_directory(cache_dir))
    if not path.is_file():
        option = f" --cache_dir {cache_dir}" if cache_dir else ""
        command = f"{_COMMAND} get {name}{option}"
        raise InputError(f"{path}: the weights of {name} are not there; get them with: {command}")
    return variables.read(path, REGISTRY[name].conversion().shapes)


def convert(name: str, checkpoint: pathlib.Path, cache_dir: pathlib.Path) -> pathlib.Path:
    """Converts a PyTorch checkpoint into the cache.

    A checkpoint with another hash than the published one is accepted, for it may be the user's
    own; the hash is noted in the metadata of the written file.

    Args:
        name: a key of `REGISTRY`.
        checkpoint: the file, as `torch.save` wrote it.
        cache_dir: the cache folder.

    Returns:
        The written safetensors file.

    Raises:
        InputError: PyTorch is missing, or the file is not this network's checkpoint.
    """
    tensors = conversion.read_torch(checkpoint)
    converted = conversion.convert_tensors(tensors, REGISTRY[name].conversion(), checkpoint)
    metadata = {"source": checkpoint.name, "source_sha256": download.sha256_of(checkpoint)}
    path = _file(name, cache_dir)
    variables.write(path, converted, metadata, np.float32)
    return path


def get(name: str, cache_dir: pathlib.Path) -> pathlib.Path:
    """Downloads, checks and converts published weights, unless the cache has them.

    Args:
        name: a key of `REGISTRY`.
        cache_dir: the cache folder; it also takes the download, which is deleted in the end.

    Returns:
        The safetensors file.

    Raises:
        InputError: PyTorch is missing, or the download failed.
    """
    path = _file(name, cache_dir)
    if path.is_file():
        return path
    conversion.import_torch()  # fails before half a gigabyte is downloaded in vain
    known = REGISTRY[name]
    checkpoint = cache_dir / known.file_name
    cache_dir.mkdir(parents=True, exist_ok=True)
    if checkpoint.is_file():  # the user's own copy: checked, used and left where it is
        download.check_hash(checkpoint, known.sha256_prefix)
        return convert(name, checkpoint, cache_dir)
    download.download(known.url, checkpoint, known.sha256_prefix)
    convert(name, checkpoint, cache_dir)
    checkpoint.unlink()
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_COMMAND, description="Weights of the frozen networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in (("get", "download and convert"), ("convert", "convert a local file")):
        subparser = commands.add_parser(command, help=text, description=text)
        subparser.add_argument("name", choices=sorted(REGISTRY))
        default = f"default: ${CACHE_VARIABLE}, else {_DEFAULT_CACHE}"
        subparser.add_argument("--cache_dir", help=default)
        if command == "convert":
            subparser.add_argument("--from", dest="checkpoint", required=True, type=pathlib.Path)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """The command line; a user's mistake ends it with one line and status 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    folder = cache_directory(options.cache_dir)
    try:
        if options.command == "get":
            path = get(options.name, folder)
        else:
            path = convert(options.name, options.checkpoint, folder)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    except OSError as error:
        parser.exit(2, f"error: {folder}: {error}; expected a folder with room to write\n")
    except KeyboardInterrupt:
        parser.exit(130, "error: interrupted\n")
    sys.stdout.write(f"{path}\n")
    if folder != cache_directory():
        sys.stdout.write(f"training finds it with: export {CACHE_VARIABLE}={folder}\n")


if __name__ == "__main__":
    main()
