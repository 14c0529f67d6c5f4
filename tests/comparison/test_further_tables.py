"""What the pictures of methods teach, and how they vary, as tables."""

from sflow_jax.comparison.further_tables import diversity_table, downstream_table
from sflow_jax.evaluation.diversity import has_variants


def downstream(translated, gap, **others):
    scores = {"translated": translated, "oracle (real frames)": 0.5} | others
    return {
        "settings": {"num_steps": 1500},
        "scores": {"unet": {name: [{"mean_iou": value}] for name, value in scores.items()}},
        "gap_closed": {"unet": [gap] if gap is not None else []},
    }


def test_what_pictures_teach_is_the_spread_over_the_runs_of_a_method():
    records = {
        "ours": [downstream(0.4, 0.25, **{"source-only": 0.3}), downstream(0.44, 0.35)],
        "other": [downstream(0.35, None)],
    }
    table = downstream_table(records)
    assert table.header == ["trained on", "ours", "other"]
    assert dict((name, cells) for name, *cells in table.rows) == {
        "translated": ["42.0 (40.0 to 44.0)", "35.0"],
        "oracle (real frames)": ["50.0 (50.0 to 50.0)", "50.0"],
        "source-only": ["30.0", "-"],
        "gap closed": ["30.0 (25.0 to 35.0)", "-"],
    }
    assert "1,500 steps" in table.note


def test_variants_that_a_method_does_not_have_are_left_open():
    records = {
        "ours": [
            {"num_variants": 4, "rows": {"colors": {"distance": 0.5, "mean_iou": 0.35}}},
            {"num_variants": 4, "rows": {"colors": {"distance": 0.7, "mean_iou": 0.33}}},
        ],
        "other": [{"num_variants": 4, "rows": {"generated": {"mean_iou": 0.3}}}],
    }
    table = diversity_table(records)
    assert table.rows == [
        ["colors", "0.600 (0.500 to 0.700), 34.0 (33.0 to 35.0)", "-, -"],
        ["generated", "-, -", "-, 30.0"],
    ]


def test_a_method_without_variants_has_no_picture_of_them():
    assert has_variants({"rows": {"colors": {"distance": 0.5}, "generated": {"mean_iou": 0.3}}})
    assert not has_variants({"rows": {"different real images": {}, "generated": {}}})
