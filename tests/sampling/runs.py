"""Running a translation, and looking at its results."""

import subprocess
import sys

import numpy as np

from sflow_jax.data import images
from sflow_jax.sampling import job, translation
from tests.as_bytes import to_uint8

EQUAL = np.full(6, 1 / 6, np.float32)


def plan(workdir, folder, output, **options):
    return job.plan(job.Settings(workdir, folder, output, batch_size=2, **options))


def run(workdir, folder, output, **options):
    sampling = plan(workdir, folder, output, **options)
    translation.translate_missing(sampling)
    return sampling


def pngs(output):
    return {str(p.relative_to(output)): images.read_color(p) for p in output.rglob("*.png")}


def translated(model, arrays, edge_key="cg", weights=EQUAL):
    edge_image = arrays[edge_key] if edge_key else np.zeros_like(arrays["cg"])
    # Without an edge image the generator gets no edges, not what DNED draws into a blank frame.
    changes = {"weights": weights} | ({} if edge_key else {"share": 0.0})
    outputs = model.translate(arrays["label"][None], edge_image[None], **changes)
    return to_uint8(outputs["image"])[0]


def assert_same_picture(found, expected):
    assert expected.std() > 2  # a dead network agrees with everything
    assert np.abs(found.astype(int) - expected).max() <= 1  # the order of sums depends on the batch


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "sflow_jax.sample", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
