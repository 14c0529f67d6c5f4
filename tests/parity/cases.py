"""What is compared with the references: small networks, random weights, random inputs.

The same cases are compared live, where a checkout of the reference is named, and with the golden
values that `python -m tests.parity.make_golden` wrote from it.
"""

import dataclasses
import functools
import json
import pathlib
import re

import jax
import numpy as np
from flax import traverse_util

from configs import streets
from sflow_jax.methods.pix2pixhd import Pix2PixHD
from sflow_jax.methods.sflow import SFlow
from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.dned import DNED
from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer
from sflow_jax.models.pix2pixhd import InstanceEncoder
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.state import TrainState
from tests.class_tables import numbered_classes
from tests.random_weights import init_random, random_batch, random_state
from tests.stub_networks import StubDNED

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"

NUM_CLASSES = 5
CLASSES = numbered_classes(NUM_CLASSES)
GENERATORS = {
    "global": {"width": 4, "num_downsamplings": 2, "num_blocks": 2},
    "local": {"width": 4, "num_downsamplings": 2, "num_blocks": 1, "num_local_blocks": 2},
}
DISCRIMINATORS = {
    "one scale": {"num_scales": 1, "width": 4, "num_layers": 3},
    "three scales": {"num_scales": 3, "width": 4, "num_layers": 2},
}
DNED_SIZES = ((32, 48), (37, 51))
STEPS = {
    "global, one scale": ("global", 1, False),
    "local, two scales": ("local", 2, False),
    "global, two scales, boundaries": ("global", 2, True),
}
"""Kind of generator, number of scales, and whether boundaries of instances are shown."""


def noise(*shape, seed=0):
    """Standard normal float32 numbers."""
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def generator(kind, size, sizes):
    """A generator, its parameters, a label map [2, H, W, C] and an edge map [2, H, W, 1]."""
    module = {"global": GlobalGenerator, "local": LocalEnhancer}[kind](**sizes)
    label_map, edge_map = np.split(noise(2, *size, NUM_CLASSES + 1), [NUM_CLASSES], axis=-1)
    return module, init_random(module, label_map, edge_map), label_map, edge_map


def discriminator(size, sizes):
    """The discriminators, their parameters, a condition [2, H, W, C] and an image [2, H, W, 3]."""
    module = MultiScaleDiscriminator(**sizes)
    condition, image = noise(2, *size, NUM_CLASSES), np.tanh(noise(2, *size, 3, seed=1))
    return module, init_random(module, condition, image), condition, image


def encoder():
    """The encoder of instance features, its parameters, images and ids of their instances."""
    module = InstanceEncoder()
    image = np.tanh(noise(2, 32, 48, 3))
    instance = np.random.RandomState(1).randint(0, 9, (2, 8, 12, 1)).astype(np.uint16) * 1003
    instance = instance.repeat(4, 1).repeat(4, 2)
    return module, init_random(module, image, instance), image, instance


@functools.cache
def dned():
    """HED's topology at its own width and its parameters for BGR input."""
    module = DNED(width=64)
    return module, init_random(module, noise(1, 16, 16, 3))


@dataclasses.dataclass(frozen=True)
class Step:
    """A train step before it is run: pix2pixHD's own."""

    config: object
    method: object
    schedule: Schedule
    state: TrainState
    batch: dict

    @property
    def label_map(self):
        return np.eye(NUM_CLASSES)[self.batch["label"][:, 0, ..., 0]]

    @property
    def image(self):
        return self.batch["image"][:, 0] / 127.5 - 1


def step(kind, num_scales, boundaries, compute_dtype="float32"):
    """One optimization step as pix2pixHD does it: no edges, no flips, no perceptual loss.

    On labels alone it is S-Flow GAN's, with a stub of DNED, which trains beside the generator that
    does not see it; with boundaries of instances it is the baseline's.
    """
    config = streets.get_test_config()
    config.generator.kind = kind
    config.generator.edges = "none"
    config.generator.width = 2
    config.generator.num_downsamplings = 2
    config.discriminator.num_scales = num_scales
    config.discriminator.width = 2
    config.loss.feature_weighting = "pix2pixhd"
    config.loss.perceptual_weight = 0.0
    config.augmentation.flip = False
    config.train.compute_dtype = compute_dtype
    schedule = Schedule(1, 1, 1, 10, 20, 20)
    batch = random_batch((32, 48), 2, NUM_CLASSES)
    if boundaries:
        method = Pix2PixHD.from_config(config, CLASSES, schedule)
        columns = np.arange(48, dtype=np.uint16)[:, None] // 7
        batch["instance"] = batch["label"].astype(np.uint16) * 1000 + columns
    else:
        method = SFlow.from_config(config, CLASSES, schedule)
        method = dataclasses.replace(method, dned=StubDNED())
    return Step(config, method, schedule, random_state(method, config, schedule), batch)


def summary(x):
    """Mean, standard deviation, and a random projection in which every element has its own say."""
    x = np.asarray(x, np.float64)
    directions = np.random.RandomState(0).standard_normal(x.shape)
    return [x.mean(), x.std(), (x * directions).sum() / np.sqrt(x.size)]


def summaries(tree):
    """`summary` of every array of a tree, by path."""
    flat = traverse_util.flatten_dict(tree, sep="/")
    return {path: summary(flat[path]) for path in sorted(flat)}


def relative_updates(before, after, learning_rate):
    """By how much parameters moved, in learning rates."""
    return jax.tree.map(
        lambda old, new: (np.asarray(new, np.float64) - old) / learning_rate, before, after
    )


def first_gradients(optimizer_state, beta1):
    """The gradients of the first step, which Adam's first moment holds."""
    return jax.tree.map(lambda moment: np.asarray(moment) / (1 - beta1), optimizer_state[0].mu)


def load_golden(name):
    """The stored values of one reference."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def save_golden(name, values):
    """Stores the values of one reference."""
    GOLDEN.mkdir(exist_ok=True)
    text = json.dumps(_rounded(values), indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)
    (GOLDEN / f"{name}.json").write_text(text + "\n")


def _rounded(values):
    if isinstance(values, dict):
        return {key: _rounded(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return round(values, 7) + 0.0  # no -0.0
