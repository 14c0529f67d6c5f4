"""Executes the notebooks of `colab/` and keeps what they show in them.

    python -m tests.colab.execute FOLDER [quickstart sampling cityscapes_tpu]

They run in FOLDER, one after the other, since `sampling` restores the run of `quickstart`. Nobody
may publish pictures of Cityscapes: there, streets in its layout and tiny networks take the place.
"""

import argparse
import os
import pathlib
import shutil

import nbformat
import numpy as np
from nbclient import NotebookClient

from sflow_jax.data.images import encode_png
from sflow_jax.data.labels import CITYSCAPES
from sflow_jax.data.streets import simulator

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[2] / "colab"
_VARIANTS = {"quickstart": "demo", "sampling": "demo", "cityscapes_tpu": "tiny"}


def read(stem: str) -> nbformat.NotebookNode:
    """A notebook by its name without suffix."""
    return nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> None:
    """Runs all cells in `folder`, with this process's environment and packages.

    Raises:
        CellExecutionError: a cell failed; the message has its traceback.
    """
    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        coalesce_streams=True,  # of a progress bar, what it ends with
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def write_archives(folder: pathlib.Path, num_train: int = 8, num_validation: int = 2) -> None:
    """Writes streets in the layout of Cityscapes, as the two archives that its site offers."""
    label_ids = np.zeros(len(CITYSCAPES.classes), np.uint8)
    for known in CITYSCAPES.classes:
        if known.eval_id is not None:
            label_ids[known.eval_id] = known.id
    unpacked = folder / "unpacked"
    seed = 0
    for split, city, num_frames in (
        ("train", "aachen", num_train),
        ("val", "lindau", num_validation),
    ):
        for number in range(num_frames):
            [frame] = simulator.render_frames(seed, num_frames=1, height=64, width=128)
            seed += 1
            label = label_ids[frame["label"]]
            stem = f"{split}/{city}/{city}_{number:06d}_000019"
            for file, array in {
                f"leftImg8bit/{stem}_leftImg8bit.png": frame["image"],
                f"gtFine/{stem}_gtFine_labelIds.png": label,
                f"gtFine/{stem}_gtFine_instanceIds.png": label.astype(np.uint16),
            }.items():
                (unpacked / file).parent.mkdir(parents=True, exist_ok=True)
                (unpacked / file).write_bytes(encode_png(array))
    for kind in ("leftImg8bit", "gtFine"):
        archive = folder / "drive" / f"{kind}_trainvaltest"
        shutil.make_archive(str(archive), "zip", unpacked, kind)
    shutil.rmtree(unpacked)


def main() -> None:
    """Executes the notebooks that the command line names, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*", choices=_VARIANTS, default=list(_VARIANTS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    paths = [str(NOTEBOOKS.parent), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    for name in options.names:
        os.environ["SFLOW_VARIANT"] = _VARIANTS[name]
        if name == "cityscapes_tpu":
            write_archives(options.folder)
        notebook = read(name)
        execute(notebook, options.folder)
        nbformat.write(notebook, NOTEBOOKS / f"{name}.ipynb")


if __name__ == "__main__":
    main()
