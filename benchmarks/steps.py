"""Our train steps for measurements: compiled, with random weights, on a batch of noise."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import default
from sflow_jax.data import labels
from sflow_jax.methods.base import Params
from sflow_jax.methods.sflow import SFlow
from sflow_jax.models.dned import NUM_SIDE_OUTPUTS
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.pretrained.vgg19 import VGG19Features
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.cost import step_flops
from sflow_jax.training.state import create_state
from sflow_jax.training.step import make_train_step

CLASS_TABLE = labels.CITYSCAPES
NUM_CLASSES = CLASS_TABLE.num_classes
"""Of Cityscapes."""

SCHEDULE = Schedule(1000, 0, 0, 1000, 2000, 2000)
"""Stage B from the first step: DNED's edges reach the generator."""


class NoDNED(nn.Module):
    """In the place of DNED where pix2pixHD's networks are measured: it computes nothing."""

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Six side outputs [B, H, W, 1] of zeros."""
        return [jnp.zeros((*x.shape[:-1], 1))] * NUM_SIDE_OUTPUTS


def make_config(
    height: int, width: int, channels: int, dtype: str, changes: Mapping[str, Any] | None = None
) -> ml_collections.ConfigDict:
    """The config of Cityscapes' image stage at another size.

    Args:
        height: of the images.
        width: of the images.
        channels: width of all three networks (ngf, ndf).
        dtype: 'float32' or 'bfloat16'.
        changes: other fields by their dotted names, such as 'generator.kind'.
    """
    config = default.get_config()
    config.data.height, config.data.width = height, width
    config.generator.width = config.discriminator.width = config.dned.width = channels
    config.train.compute_dtype = dtype
    config.update_from_flattened_dict(dict(changes or {}))
    return config


def as_pix2pixhd(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The same without what its official code does not have, or has as an option: VGG19."""
    config = config.copy_and_resolve_references()
    config.generator.edges = "none"
    config.loss.perceptual_weight = 0.0
    config.loss.feature_weighting = "pix2pixhd"
    config.augmentation.flip = False
    return config


def as_video(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The video stage of the same run."""
    return default.video_stage(config.copy_and_resolve_references())


def random_batch(config: ml_collections.ConfigDict, batch_size: int) -> dict[str, np.ndarray]:
    """A batch as the input pipeline gives it: noise, labels in blocks, small motion."""
    random = np.random.default_rng(0)
    frames = (batch_size, config.data.frames)
    height, width = config.data.height, config.data.width
    cells = random.integers(0, NUM_CLASSES, (*frames, -(-height // 16), -(-width // 16), 1))
    label = cells.repeat(16, 2).repeat(16, 3)[:, :, :height, :width]
    batch = {
        "image": random.integers(0, 256, (*frames, height, width, 3)).astype(np.uint8),
        "label": label.astype(np.uint8),
    }
    if config.data.frames == 2:
        flow = random.normal(0, 2, (batch_size, height, width, 2))
        batch["flow"] = flow.astype(np.float16)
    return batch


def make_method(config: ml_collections.ConfigDict) -> SFlow:
    """The method of a config, with a perceptual network of random weights where it has a share."""
    method = SFlow.from_config(config, CLASS_TABLE, SCHEDULE)
    if config.loss.perceptual_weight == 0:
        return dataclasses.replace(method, dned=NoDNED())
    dtype = jnp.dtype(config.train.compute_dtype)
    network = VGG19Features(normalize=config.loss.perceptual_input, dtype=dtype)
    perceptual_network = PerceptualNetwork(network.apply, _random_vgg19(network))
    return dataclasses.replace(method, perceptual_network=perceptual_network)


class OurStep:
    """A compiled train step with its state.

    Attributes:
        gflop_per_image: the convolutions of a step, counted by hand.
        xla_gflop_per_image: all operations of the step as XLA counts them before it optimizes; the
            body of a loop counts once.
        compile_seconds: of tracing and compiling.
        peak_bytes: of the device's memory: on a GPU as measured in its first step, beside what
            was there before; on a CPU as the compiler plans it.
    """

    def __init__(self, config: ml_collections.ConfigDict, batch: Mapping[str, np.ndarray]):
        before = _memory("bytes_in_use")
        method = make_method(config)
        self._frozen_params = jax.device_put(method.frozen_params)
        self._batch = jax.device_put(dict(batch))
        self._state = create_state(method, config, SCHEDULE)
        step = make_train_step(method, SCHEDULE, config, axis_name=None)
        start = time.perf_counter()
        arguments = (self._state, self._frozen_params, self._batch)
        lowered = jax.jit(step, donate_argnums=0).lower(*arguments)
        self._step = lowered.compile()
        self.compile_seconds = time.perf_counter() - start
        size = config.data.height, config.data.width
        by_hand = step_flops(method, size)
        self.gflop_per_image = sum(by_hand.values()) / 1e9
        num_images = batch["image"].shape[0] * batch["image"].shape[1]
        self.xla_gflop_per_image = lowered.cost_analysis()["flops"] / num_images / 1e9
        self()
        jax.block_until_ready(self._state)
        self.peak_bytes = _memory("peak_bytes_in_use") - before or _planned(self._step)

    def __call__(self) -> Any:
        """One step; returns before the device is done."""
        self._state, metrics = self._step(self._state, self._frozen_params, self._batch)
        return self._state.step, metrics

    def program(self) -> str:
        """What XLA made of the step, as text."""
        return self._step.as_text()


def repeat(function: Callable[[], Any], times: int) -> Callable[[], Any]:
    """Calls a function so many times and returns its last result."""

    def repeated() -> Any:
        for _ in range(times):
            result = function()
        return result

    return repeated


def _random_vgg19(network: VGG19Features) -> Params:
    """He-initialized: time does not depend on the values."""
    random = np.random.default_rng(0)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) == 4 else 0
        return random.standard_normal(leaf.shape, np.float32) * np.float32(scale)

    return jax.tree.map(draw, shapes)


def _memory(name: str) -> int:
    """Bytes of the first device; 0 where it does not count them, as a CPU."""
    return (jax.devices()[0].memory_stats() or {}).get(name, 0)


def _planned(compiled: jax.stages.Compiled) -> int:
    memory = compiled.memory_analysis()
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes
