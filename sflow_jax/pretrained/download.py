"""Downloads that resume after an interruption and are checked before anything reads them."""

import http.client
import pathlib
import urllib.error
import urllib.request
from typing import IO

import tqdm

from sflow_jax.errors import InputError
from sflow_jax.files import sha256_of

_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 20


def check_hash(path: pathlib.Path, sha256: str) -> None:
    """Checks that a file is the published one.

    Raises:
        InputError: its SHA-256 is not this.
    """
    found = sha256_of(path)
    if found != sha256:
        raise InputError(f"{path}: its SHA-256 is {found}, expected {sha256}")


def download(url: str, path: pathlib.Path, sha256: str) -> None:
    """Downloads `url` to `path`, which appears only when it is whole and its hash is right.

    The bytes go to `path` + `.part`. If the connection breaks they stay there, and the next call
    continues behind them where the server allows it (HTTP Range).

    Args:
        url: where the file is.
        path: where it goes; its folder must exist.
        sha256: of the file, 64 hexadecimal digits.

    Raises:
        InputError: if the server cannot be reached, refuses, breaks off, or sends another file.
    """
    part = path.with_name(path.name + ".part")
    try:
        _receive(url, part)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        kept = f"; the same command continues {part}" if part.exists() else ""
        raise InputError(f"{url}: download failed ({reason}){kept}") from error
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise InputError(
            f"{url}: the download was deleted, its SHA-256 is {found}, expected {sha256}"
        )
    part.replace(path)


def _receive(url: str, part: pathlib.Path) -> None:
    """Completes the partial file; a server that ignores Range sends it again from the start."""
    start = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, start)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return  # the partial file is the whole file
        start, response = 0, _open(url, 0)
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            _copy(response, file, start, total, part.name)
        if total is not None and part.stat().st_size < total:
            raise ConnectionError(f"the connection closed before {total} bytes were received")


def _open(url: str, start: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "sflow_jax", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)


def _copy(
    response: http.client.HTTPResponse, file: IO[bytes], start: int, total: int | None, name: str
) -> None:
    bar = tqdm.tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024
    )
    with bar:
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
