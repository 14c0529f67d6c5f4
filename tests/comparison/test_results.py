"""What the scores of several seeds say about methods."""

import json

import pytest

from sflow_jax.comparison import results
from sflow_jax.comparison.results import MethodResults, Spread


def method(name, values, key="mean_iou"):
    rows = {"own": [{key: value} for value in values]}
    return MethodResults(name, rows, [{"model_row": "own"}] * len(values), [])


def test_a_spread_is_a_mean_with_its_range():
    assert Spread([0.1, 0.2, 0.6]).text(100, 1) == "30.0 (10.0 to 60.0)"
    assert Spread([0.1]).text(1, 2) == "0.10"


@pytest.mark.parametrize(
    ("key", "a", "b", "expected"),
    [
        ("mean_iou", [0.4, 0.5], [0.1, 0.2], "a > b"),
        ("mean_iou", [0.1, 0.2], [0.4, 0.5], "b > a"),
        ("mean_iou", [0.4, 0.5], [0.1, 0.45], "a ~ b"),
        ("mean_iou", [0.4], [0.1], "a ~ b"),
        ("l1", [0.4, 0.5], [0.1, 0.2], "b > a"),
        ("frechet_streets", [1.0, 2.0], [2.5, 3.0], "a > b"),
        ("pattern_4", [0.1, 0.0], [0.3, 0.4], "b > a"),  # real images have 0.35
    ],
)
def test_methods_are_ordered_only_where_all_seeds_agree(key, a, b, expected):
    methods = [method("a", a, key), method("b", b, key)]
    assert results.orderings(methods, {key: 0.35}) == {key: expected}


def test_rows_are_joined_by_seed_with_the_methods_own_first(tmp_path):
    lines = [json.dumps({"step": step, "l1": 1 / step}) for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "l']))
    records = [
        {
            "workdir": str(tmp_path),
            "model_row": "generated",
            "rows": {"Oracle (real images)": {"l1": 0.0}, "generated": {"l1": value}},
        }
        for value in (0.2, 0.4)
    ]
    found = results.collect("a", records)
    assert list(found.rows) == ["generated", "Oracle (real images)"]
    assert [result["l1"] for result in found.own] == [0.2, 0.4]
    assert found.curves == [[{"step": 1, "l1": 1.0}, {"step": 2, "l1": 0.5}]] * 2


def test_a_class_that_some_seed_does_not_define_has_no_spread():
    seeds = [{"class_iou": {"sky": 0.5, "bus": None}}, {"class_iou": {"sky": 0.7, "bus": 0.1}}]
    spreads = results.class_spreads(seeds)
    assert spreads["bus"] is None
    assert spreads["sky"].mean == pytest.approx(0.6)
