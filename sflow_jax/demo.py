"""Serves a page to play with a trained generator in.

    python -m sflow_jax.demo --workdir RUN [--port 7860]

Choose a scene of the test split, or upload a label map and a CG frame; the ensemble weights of
DNED, the threshold of edges, the seed and the number of variants are sliders. The page loads
nothing from elsewhere and sends nothing anywhere. It can be reached from this machine alone unless
--host says otherwise.
"""

import os
import pathlib
import sys

from absl import flags

from sflow_jax import cli, compilation_cache
from sflow_jax.errors import InputError
from sflow_jax.files import named_path
from sflow_jax.inference import restore_model
from sflow_jax.playground.drawing import require_ensemble
from sflow_jax.playground.scene import Scene, stored_scenes

INSTALL = 'pip install -c constraints-demo.txt -e ".[demo]"'


def main() -> None:
    """Runs the command that the flags describe."""
    options = flags.FLAGS
    # Read when gradio is imported.
    os.environ.update({"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"})
    try:
        from sflow_jax.playground.page import make_page, serve
    except ImportError as error:
        raise InputError(f"demo: found no gradio ({error}); expected {INSTALL}") from error
    workdir = named_path("--workdir", options.workdir)
    compilation_cache.use()
    model = restore_model(workdir, options.step)
    require_ensemble(model)
    serve(make_page(model, _scenes(model.dataset)), options.host, options.port)


def _scenes(dataset: str) -> dict[str, Scene]:
    try:
        return dict(stored_scenes(pathlib.Path(dataset)))
    except InputError as error:
        print(f"note: only uploads, no scenes to choose from: {error}", file=sys.stderr)
        return {}


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the training run; required.")
    flags.DEFINE_integer("step", None, "Checkpoint to use; the newest by default.")
    flags.DEFINE_string(
        "host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets other machines use the page."
    )
    flags.DEFINE_integer("port", 7860, "Port to listen at.", lower_bound=1, upper_bound=65535)
    flags.mark_flags_as_required(["workdir"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
