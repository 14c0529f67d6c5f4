"""Which files a module decodes."""

from types import ModuleType

import pytest

from sflow_jax.data import images


def record_reads(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list:
    """A list of the files that a module decodes with `read_color` from now on."""
    read = []

    def read_color(path):
        read.append(path)
        return images.read_color(path)

    monkeypatch.setattr(module, "read_color", read_color)
    return read
