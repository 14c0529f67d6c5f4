"""Pictures that show how far a run is: labels, the method's maps, fake, real and flow."""

from collections.abc import Iterable
from typing import Any

import jax
import ml_collections
import numpy as np

from sflow_jax.data.flow import farneback_flow
from sflow_jax.methods.base import Method
from sflow_jax.pictures import edges_to_rgb, flow_to_rgb, grid, largest_motion
from sflow_jax.prepare import PreparedDataset
from sflow_jax.training.state import TrainState

_FLOW_CAPTIONS = ("real t", "real t+1", "real flow", "fake t", "fake t+1", "fake flow")


class Preview:
    """Draws the averaged generator's work on a few fixed examples.

    They come from the validation split where there is one, and their edges from the CG frame where
    there is one, so that the picture shows what sampling will give.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        method: Method,
        config: ml_collections.ConfigDict,
    ):
        split = "validation" if dataset.num_examples.get("validation") else "train"
        source = dataset.source(split)
        count = min(config.log.num_images, len(source))
        examples = [source[i * len(source) // count] for i in range(count)]
        self._label = np.stack([example["label"] for example in examples])
        self._real = np.stack([example["image"] for example in examples])
        self._edge_image = np.stack([example.get("cg", example["image"]) for example in examples])
        self._inputs = {
            key: np.stack([example[key] for example in examples]) for key in method.input_keys
        }
        self._flow = [example["flow"] for example in examples if "flow" in example]
        self._class_table = dataset.class_table
        self._method = method
        self._styles = method.styles([example["name"] for example in examples])
        self._translate = jax.jit(method.translate)

    def draw(self, state: TrainState) -> dict[str, np.ndarray]:
        """Draws one row per example.

        Returns:
            uint8 RGB pictures: `preview` of the first frames, or of the last where a method makes a
            frame from those before, and for pairs of frames `flow`.
        """
        frames: list[dict] = []
        recalled: dict[str, Any] = {}
        for t in range(self._real.shape[1]):
            translated = self._translate_frame(state, t, recalled)
            recalled = self._method.recalled(translated)
            drawn = {key: value for key, value in translated.items() if key != "memory"}
            frames.append(jax.device_get(drawn))
        # A method that remembers has done its work at the end of a clip.
        shown = -1 if self._method.remembers else 0
        pictures = {"preview": self._draw_preview(frames[shown], shown)}
        if len(frames) == 2:
            pictures["flow"] = self._draw_flow(*(frame["picture"] for frame in frames))
        return pictures

    def _translate_frame(self, state: TrainState, t: int, recalled: dict) -> dict[str, jax.Array]:
        controls = self._method.controls(int(state.step)) | self._styles | recalled
        controls |= {key: values[:, t] for key, values in self._inputs.items()}
        label, edge_image = self._label[:, t], self._edge_image[:, t]
        return self._translate(state.ema_params, label, edge_image, **controls)

    def _draw_preview(self, outputs: dict[str, np.ndarray], t: int) -> np.ndarray:
        columns: dict[str, Iterable[np.ndarray]] = {
            "label": self._class_table.colorize(self._label[:, t, ..., 0]),
            "edges from": self._edge_image[:, t],
        }
        for caption, maps in self._method.maps(outputs).items():
            columns[caption] = [edges_to_rgb(np.asarray(edge_map)) for edge_map in maps]
        columns |= {"fake": outputs["picture"], "real": self._real[:, t]}
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        return grid(rows, list(columns))

    def _draw_flow(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        rows = []
        for i, real_flow in enumerate(self._flow):
            fake_flow = farneback_flow(first[i], second[i])
            largest = largest_motion(real_flow)
            real = [*self._real[i], flow_to_rgb(real_flow, largest)]
            rows.append([*real, first[i], second[i], flow_to_rgb(fake_flow, largest)])
        return grid(rows, _FLOW_CAPTIONS)
