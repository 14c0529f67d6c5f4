"""The picture that shows how far a run is: labels, edges, DNED's side outputs, fake and real."""

import jax
import ml_collections
import numpy as np

from sflow_jax.inference import make_translate
from sflow_jax.pictures import edges_to_rgb, grid, to_uint8
from sflow_jax.prepare import PreparedDataset
from sflow_jax.training.schedule import Schedule
from sflow_jax.training.state import Networks, TrainState

_CAPTIONS = ("label", "edges of", "Laplacian", "d1", "d2", "d3", "d4", "d5", "fusion")
_CAPTIONS += ("edges into G", "fake", "real")


class Preview:
    """Draws the averaged generator's work on a few fixed examples.

    They come from the validation split where there is one, and their edges from the CG frame where
    there is one, so that the picture shows what sampling will give.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        networks: Networks,
        schedule: Schedule,
        config: ml_collections.ConfigDict,
    ):
        split = "validation" if dataset.num_examples.get("validation") else "train"
        source = dataset.source(split)
        count = min(config.log.num_images, len(source))
        examples = [source[i * len(source) // count] for i in range(count)]
        self._label = np.stack([example["label"][0] for example in examples])
        self._real = np.stack([example["image"][0] for example in examples])
        self._edge_image = np.stack(
            [example.get("cg", example["image"])[0] for example in examples]
        )
        self._class_table = dataset.class_table
        self._schedule = schedule
        self._translate = make_translate(networks, config)

    def draw(self, state: TrainState) -> np.ndarray:
        """Draws one row per example; returns uint8 RGB."""
        share = self._schedule.dned_share(state.step)
        outputs = self._translate(state.ema_params, self._label, self._edge_image, share=share)
        outputs = jax.device_get(outputs)
        fakes = to_uint8(outputs["image"])
        side_edges = 1 / (1 + np.exp(-outputs["side_outputs"]))
        colours = self._class_table.colorize(self._label[..., 0])
        rows = [
            [
                colours[i],
                self._edge_image[i],
                edges_to_rgb(outputs["laplacian"][i]),
                *(edges_to_rgb(side[i]) for side in side_edges),
                edges_to_rgb(outputs["edge_map"][i]),
                fakes[i],
                self._real[i],
            ]
            for i in range(len(fakes))
        ]
        return grid(rows, _CAPTIONS)
