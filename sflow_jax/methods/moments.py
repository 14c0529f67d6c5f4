"""What vid2vid's step knows of a clip, and of each of its frames: who sees which frames.

A moment is a frame with all that its networks and losses need: those before it, as they were made
and as they really were, and the motion between them.
"""

from collections.abc import Iterable, Mapping

import flax.struct
import jax
import jax.numpy as jnp

from sflow_jax.ops import frame_skips
from sflow_jax.ops.image_flow import image_flow
from sflow_jax.ops.warp import color_mask

NUM_PREVIOUS = 2  # frames before a frame that its generator sees
_FLOW_SCALE = 20.0  # flows are divided by it for the temporal discriminators


@flax.struct.dataclass
class Clip:
    """What a step knows of B clips of T frames before any network runs.

    Attributes:
        condition: one-hot label maps, and boundaries of instances, [T, B, H, W, C].
        image: the real images in [-1, 1], [T, B, H, W, 3].
        flows: from each frame to the one that is so many frames before, by that number, pixels,
            [T, B, H, W, 2]; 0 for the first frames.
        confidence: 1 where the flow to the frame before is right, [T, B, H, W, 1]; 0 for the first
            frame.
    """

    condition: jax.Array
    image: jax.Array
    flows: dict[int, jax.Array]
    confidence: jax.Array


@flax.struct.dataclass
class Moment:
    """What networks and losses of a frame need, B of them.

    Attributes:
        condition: of the frame, [B, H, W, C].
        conditions: those of the two frames before and of the frame, [B, H, W, 3 C].
        image: the real frame in [-1, 1], [B, H, W, 3].
        real_before: the real frame before, likewise.
        previous: the two frames that were made before, [B, H, W, 6].
        is_start: whether there are none; bool.
        flow: of the real frames, to the one before, [B, H, W, 2].
        confidence: in it, [B, H, W, 1].
        triples: what each temporal discriminator sees besides the frame, by name.
    """

    condition: jax.Array
    conditions: jax.Array
    image: jax.Array
    real_before: jax.Array
    previous: jax.Array
    is_start: jax.Array
    flow: jax.Array
    confidence: jax.Array
    triples: dict[str, "Triple"]


@flax.struct.dataclass
class Triple:
    """The two frames that a temporal discriminator sees before a frame.

    Attributes:
        real: [B, H, W, 6] in [-1, 1].
        fake: those that were made, likewise.
        flow: of the real frames, from the second to the first and from the frame to the second,
            [B, H, W, 4], divided by 20.
        is_ready: whether both frames were made already; bool.
    """

    real: jax.Array
    fake: jax.Array
    flow: jax.Array
    is_ready: jax.Array


def make_clip(
    condition: jax.Array, image: jax.Array, num_frames: int, scales: Iterable[int]
) -> Clip:
    """Arranges frames by time, and finds their motion.

    Args:
        condition: [B * T, H, W, C], the frames of a clip side by side.
        image: in [-1, 1], [B * T, H, W, 3], likewise.
        num_frames: T.
        scales: of the temporal discriminators, see `frame_skips`.
    """
    image = _by_time(image, num_frames)
    skips = {1, *map(frame_skips.skip, scales)}
    flows = {skip: _flows(image, skip) for skip in skips if skip < num_frames}
    confidence = jax.vmap(color_mask)(image, jnp.roll(image, 1, 0), flows[1])
    return Clip(
        condition=_by_time(condition, num_frames),
        image=image,
        flows=flows,
        confidence=confidence.at[0].set(0.0),
    )


def first_memory(clip: Clip, num_given: int) -> jax.Array:
    """The frames that were made, none yet: [T + 2, B, H, W, 3], frame t being number t + 2.

    Args:
        clip: of the step.
        num_given: frames of the clip that are not made but given.
    """
    zeros = jnp.zeros((NUM_PREVIOUS, *clip.image.shape[1:]), jnp.float32)
    rest = jnp.zeros((len(clip.image) - num_given, *clip.image.shape[1:]), jnp.float32)
    return jnp.concatenate([zeros, clip.image[:num_given], rest])


def remember(memory: jax.Array, time: jax.Array, image: jax.Array) -> jax.Array:
    """The frames that were made, with frame `time`, [B, H, W, 3], among them."""
    image = jax.lax.stop_gradient(image)
    return jax.lax.dynamic_update_index_in_dim(memory, image, time + NUM_PREVIOUS, 0)


def moment_at(
    clip: Clip, memory: jax.Array, time: jax.Array, scales: Mapping[str, int], num_given: int
) -> Moment:
    """The moment of a frame.

    Args:
        clip: of the step.
        memory: the frames that were made before.
        time: the frame's number.
        scales: of the temporal discriminators, by name; those that clips are too short for are left
            out.
        num_given: frames of the clip that are not made but given.
    """

    def at(x: jax.Array, index: jax.Array) -> jax.Array:
        return jax.lax.dynamic_index_in_dim(x, jnp.maximum(index, 0), 0, keepdims=False)

    def made(index: jax.Array) -> jax.Array:
        return at(memory, index + NUM_PREVIOUS)

    before = (time - 2, time - 1)
    triples = {}
    for name, scale in scales.items():
        if frame_skips.span(scale) >= len(clip.image):
            continue
        *pair, _ = frame_skips.triple(time, scale)
        flows = clip.flows[frame_skips.skip(scale)]
        triples[name] = Triple(
            real=jnp.concatenate([at(clip.image, index) for index in pair], -1),
            fake=jnp.concatenate([made(index) for index in pair], -1),
            flow=jnp.concatenate([at(flows, pair[1]), at(flows, time)], -1) / _FLOW_SCALE,
            is_ready=jnp.asarray(frame_skips.is_ready(time - num_given, scale)),
        )
    conditions = [at(clip.condition, index) for index in (*before, time)]
    return Moment(
        condition=conditions[-1],
        conditions=jnp.concatenate(conditions, -1),
        image=at(clip.image, time),
        real_before=at(clip.image, time - 1),
        previous=jnp.concatenate([made(index) for index in before], -1),
        is_start=time == 0,
        flow=at(clip.flows[1], time),
        confidence=at(clip.confidence, time),
        triples=triples,
    )


def _by_time(frames: jax.Array, num_frames: int) -> jax.Array:
    """[B * T, ...] to [T, B, ...]."""
    return jnp.moveaxis(frames.reshape(-1, num_frames, *frames.shape[1:]), 1, 0)


def _flows(image: jax.Array, skip: int) -> jax.Array:
    """The flow from each frame [T, B, H, W, 3] to the one `skip` before; 0 for the first ones."""
    later, earlier = (x.reshape(-1, *x.shape[2:]) for x in (image[skip:], image[:-skip]))
    flow = image_flow(later, earlier).reshape(len(image) - skip, *image.shape[1:4], 2)
    return jnp.pad(flow, ((skip, 0), *[(0, 0)] * 4))
