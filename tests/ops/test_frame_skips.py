import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.ops import frame_skips


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (1, [None, None, None]),
        (2, [(0, 1, 2), None, None]),
        (5, [(3, 4, 5), None, None]),
        (6, [(4, 5, 6), (0, 3, 6), None]),
        (17, [(15, 16, 17), (11, 14, 17), None]),
        (18, [(16, 17, 18), (12, 15, 18), (0, 9, 18)]),
        (20, [(18, 19, 20), (14, 17, 20), (2, 11, 20)]),
    ],
)
def test_the_frames_that_three_scales_see(time, expected):
    for scale, frames in enumerate(expected):
        assert frame_skips.is_ready(time, scale) == (frames is not None)
        if frames is not None:
            assert frame_skips.triple(time, scale) == frames


def test_the_time_of_a_compiled_loop_will_do():
    @jax.jit
    def last(steps):
        def body(time, found):
            triple = jnp.stack(frame_skips.triple(time, 1))
            return jnp.where(frame_skips.is_ready(time, 1), triple, found)

        return jax.lax.fori_loop(0, steps, body, jnp.full(3, -1))

    np.testing.assert_array_equal(last(6), [-1, -1, -1])
    np.testing.assert_array_equal(last(9), [2, 5, 8])
