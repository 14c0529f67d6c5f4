import numpy as np
import pytest

from sflow_jax.metrics.fixed_pattern import PERIODS, FixedPattern


def scores_of(pictures, batch_size=20):
    score = FixedPattern()
    for start in range(0, len(pictures), batch_size):
        score.update(pictures[start : start + batch_size, None], {})
    return score.result()


def natural_pictures(count=100, size=(66, 131)):
    """Smooth random pictures with grain, none of whose pixels is special."""
    random = np.random.RandomState(0)
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = [
        128
        + 60 * np.sin(rows * a + columns * b + c)[..., None] * random.uniform(0.5, 1, 3)
        + random.normal(0, 4, (*size, 3))
        for a, b, c in random.uniform(0, 0.2, (count, 3)) * (1, 1, 30)
    ]
    return np.clip(np.rint(waves), 0, 255).astype(np.uint8)


PICTURES = natural_pictures()


def test_pictures_without_a_pattern_have_next_to_none():
    scores = scores_of(PICTURES)
    assert list(scores) == ["pattern_2", "pattern_4", "pattern_8"]
    assert max(scores.values()) < 0.2


@pytest.mark.parametrize("period", PERIODS)
def test_a_planted_pattern_is_found_with_its_strength(period):
    pattern = np.random.RandomState(1).choice([-3, 3], (period, period, 3))
    pattern[0, 0] = -pattern[1, 1]
    rows, columns = np.mgrid[: PICTURES.shape[1], : PICTURES.shape[2]] % period
    planted = np.clip(PICTURES.astype(int) + pattern[rows, columns], 0, 255).astype(np.uint8)
    strength = np.sqrt(pattern.var((0, 1)).mean())
    assert scores_of(planted)[f"pattern_{period}"] == pytest.approx(strength, rel=0.1)
    # Where a thing is in the pictures does not matter, nor how they come.
    moved = scores_of(planted[:, 3:, 5:], batch_size=7)
    assert moved[f"pattern_{period}"] == pytest.approx(strength, rel=0.1)


def test_a_pattern_that_moves_from_picture_to_picture_is_none():
    rows, columns = np.mgrid[: PICTURES.shape[1], : PICTURES.shape[2]]
    signs = np.random.RandomState(2).choice([-1, 1], len(PICTURES))
    checkers = (6 * ((rows + columns) % 2) - 3)[None] * signs[:, None, None]
    planted = np.clip(PICTURES.astype(int) + checkers[..., None], 0, 255).astype(np.uint8)
    assert scores_of(planted)["pattern_2"] < 0.6


def test_pictures_smaller_than_a_cell_have_no_score():
    assert np.isnan(scores_of(PICTURES[:, :12, :12])["pattern_8"])
