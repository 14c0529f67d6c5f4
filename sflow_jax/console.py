"""The commands under names of their own: `sflow-train` is `python -m sflow_jax.main`."""

import os
import pathlib
import runpy
import sys

MODULES = {
    "sflow-train": "sflow_jax.main",
    "sflow-prepare": "sflow_jax.prepare",
    "sflow-sample": "sflow_jax.sample",
    "sflow-translate": "sflow_jax.translate",
    "sflow-evaluate": "sflow_jax.evaluate",
    "sflow-demo": "sflow_jax.demo",
    "sflow-export": "sflow_jax.export",
    "sflow-train-segmenter": "sflow_jax.train_segmenter",
    "sflow-compare": "sflow_jax.compare",
    "sflow-import-pix2pixhd": "sflow_jax.import_pix2pixhd",
    "sflow-weights": "sflow_jax.pretrained.weights",
    "sflow-streets": "sflow_jax.data.streets",
}
"""The module of each console script; setup.py has the same names."""


def main() -> None:
    """Runs the command whose name this process was started by."""
    # As `python -m` does: config files import each other from the folder where a command starts.
    sys.path.insert(0, os.getcwd())
    runpy.run_module(MODULES[pathlib.Path(sys.argv[0]).stem], run_name="__main__", alter_sys=True)
