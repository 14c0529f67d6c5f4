import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.ops import augment, bilinear, laplacian, nn, pixels, resize, warp
from sflow_jax.ops.convolution import convolve, convolve_transposed
from sflow_jax.ops.image_flow import image_flow
from sflow_jax.ops.optical_flow import farneback

FLOAT = np.float32
IMAGE, FLOW, POSITIONS = (np.zeros((2, 40, 48, n), FLOAT) for n in (3, 2, 1))
POSITIONS = POSITIONS[..., 0]
GRAY, IDS, FLIPS = IMAGE[..., :1], IMAGE[..., :1].astype(np.uint8), np.zeros(2, bool)
KERNEL = np.zeros((3, 3, 3, 5), FLOAT)
KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 2)
ZOOM = augment.Zoom(np.ones(2, FLOAT), np.zeros((2, 2), FLOAT))

OPERATORS = {  # what they take, by the names of the arguments
    laplacian.to_gray: {"images": IMAGE},
    laplacian.laplacian: {"gray": GRAY},
    laplacian.laplacian_edges: {"images": IMAGE},
    farneback: {"prev": GRAY, "next": GRAY},
    image_flow: {"first": IMAGE, "second": IMAGE},
    warp.warp: {"image": IMAGE, "flow": FLOW},
    warp.stays_inside: {"flow": FLOW},
    warp.consistency_mask: {"forward": FLOW, "backward": FLOW},
    bilinear.read: {"image": IMAGE, "x": POSITIONS, "y": POSITIONS},
    functools.partial(resize.resize_align_corners, height=3, width=4): {"maps": IMAGE},
    functools.partial(resize.adaptive_average_pool, bins=2): {"maps": IMAGE},
    functools.partial(augment.example_keys, batch_size=2, axis_name=None): {"key": KEY},
    augment.random_flips: {"keys": KEYS},
    augment.flip_horizontally: {"x": IMAGE, "flips": FLIPS},
    augment.flip_flow: {"flow": FLOW, "flips": FLIPS},
    functools.partial(augment.random_zooms, max_zoom=0.5): {"keys": KEYS},
    functools.partial(augment.zoom_image, zoom=ZOOM): {"image": IMAGE},
    functools.partial(augment.zoom_labels, zoom=ZOOM): {"ids": IDS},
    functools.partial(augment.zoom_flow, zoom=ZOOM): {"flow": FLOW},
    functools.partial(augment.random_threshold_scales, jitter=0.5): {"keys": KEYS},
    functools.partial(augment.drop_edges, max_rate=0.5): {"keys": KEYS, "edge_map": GRAY},
    functools.partial(augment.blur_edges, max_amount=0.5): {"keys": KEYS, "edge_map": GRAY},
    functools.partial(convolve, strides=(1, 1), padding="SAME"): {"x": IMAGE, "kernel": KERNEL},
    functools.partial(convolve_transposed, stride=2, padding=((1, 1), (1, 1)), size=(80, 96)): {
        "x": IMAGE,
        "kernel": KERNEL.swapaxes(2, 3),
    },
    nn.instance_norm: {"x": IMAGE},
    nn.relu: {"x": IMAGE},
    nn.max_pool_2x2: {"x": IMAGE},
    nn.average_pool_3x3: {"x": IMAGE},
    functools.partial(nn.reflect_pad, size=1): {"x": IMAGE},
    functools.partial(nn.pad_to_multiple, multiple=32): {"x": IMAGE},
    pixels.to_float: {"image": IDS},
    pixels.to_uint8: {"image": IMAGE},
}
ANY_SHAPE = {nn.relu, pixels.to_float, pixels.to_uint8}
ARGUMENTS = [(operator, name) for operator, given in OPERATORS.items() for name in given]


def name_of(value):
    return getattr(getattr(value, "func", value), "__name__", value)


@pytest.mark.parametrize(("operator", "name"), ARGUMENTS, ids=name_of)
def test_another_rank_or_type_is_refused(operator, name):
    given = OPERATORS[operator]
    other_rank = given | {name: given[name][None]}
    other_type = given | {name: np.zeros(given[name].shape, np.complex64)}
    jax.eval_shape(lambda: operator(**given))
    if operator not in ANY_SHAPE:
        with pytest.raises(ValueError, match=rf"\b{name}\b.*found|found.*\b{name}\b"):
            jax.eval_shape(lambda: operator(**other_rank))
    with pytest.raises(TypeError, match=rf"{name}: found complex64 .*, expected"):
        jax.eval_shape(lambda: operator(**other_type))
    with pytest.raises(TypeError, match=rf"{name}: found a list, expected an array"):
        jax.eval_shape(lambda: operator(**given | {name: [1.0, 2.0]}))


def test_the_message_says_what_was_found_and_expected():
    message = r"^flow: found bfloat16 \[2, 4, 5, 3\], expected float \[B, H, W, 2\]$"
    with pytest.raises(ValueError, match=message):
        warp.warp(jnp.zeros((2, 4, 5, 3)), jnp.zeros((2, 4, 5, 3), jnp.bfloat16))


def test_positions_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"x \[2, 40, 48\] and y \[2, 40, 1\], expected one shape"):
        bilinear.read(IMAGE, POSITIONS, POSITIONS[..., :1])


def test_a_kernel_of_other_channels_or_type_is_refused():
    with pytest.raises(ValueError, match=r"x \[2, 40, 48, 3\] and kernel \[3, 3, 2, 5\]"):
        convolve(IMAGE, KERNEL[:, :, :2], (1, 1), "SAME")
    with pytest.raises(TypeError, match="x float32 and kernel bfloat16, expected one type"):
        convolve(IMAGE, KERNEL.astype(jnp.bfloat16), (1, 1), "SAME")


def test_a_layout_that_is_not_channels_last_is_refused():
    layout = jax.lax.conv_dimension_numbers(IMAGE.shape, KERNEL.shape, ("NCHW", "HWIO", "NCHW"))
    with pytest.raises(ValueError, match="dimension_numbers: found"):
        convolve(IMAGE, KERNEL, (1, 1), "SAME", dimension_numbers=layout)
