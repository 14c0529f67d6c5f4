import json

import numpy as np
import pytest

from sflow_jax.data import labels
from sflow_jax.errors import InputError

TABLE = {
    "name": "toy",
    "classes": [
        {"id": 2, "name": "road", "color": [128, 64, 128], "eval_id": 1},
        {"id": 5, "name": "car", "color": [0, 0, 142], "eval_id": 0},
        {"id": 6, "name": "van", "color": [0, 0, 70], "eval_id": 0},
        {"id": 0, "name": "void", "color": [0, 0, 0], "eval_id": None},
    ],
}


def _changed(**changes) -> str:
    table = json.loads(json.dumps(TABLE))
    table["classes"][1] |= changes
    return json.dumps(table)


def _with_void(void_ids, table=TABLE) -> str:
    return json.dumps(table | {"void_ids": void_ids})


def test_ids_without_a_meaning_become_the_void_class():
    table = labels.ClassTable.from_json(_with_void([255, 9]))
    assert table.num_classes == 7  # not 256
    assert np.flatnonzero(table.is_known).tolist() == [0, 2, 5, 6, 9, 255]
    assert table.read_lookup[[0, 2, 5, 6, 9, 255]].tolist() == [0, 2, 5, 6, 0, 0]
    assert labels.ClassTable.from_json(table.to_json()) == table
    every = labels.ClassTable.from_json(_with_void("others"))
    assert every.is_known.all()
    assert (np.delete(every.read_lookup, [2, 5, 6]) == 0).all()
    assert every.has_classes_of(table)


def test_a_void_class_is_added_where_there_is_none():
    scored = TABLE | {"classes": TABLE["classes"][:3]}
    table = labels.ClassTable.from_json(_with_void([255], scored))
    assert table.void == labels.LabelClass(0, "void", (0, 0, 0), None)
    assert table.num_classes == 7
    assert table.read_lookup[255] == 0
    assert labels.ClassTable.from_json(json.dumps(scored)).void is None


def test_derived_tables():
    table = labels.ClassTable.from_json(json.dumps(TABLE))
    assert table.num_classes == 7
    assert table.eval_names == ["car", "road"]
    assert table.num_eval_classes == 2
    assert table.eval_lookup[[0, 1, 2, 5, 6, 255]].tolist() == [255, 255, 1, 0, 0, 255]
    assert np.flatnonzero(table.is_known).tolist() == [0, 2, 5, 6]


def test_colorize_draws_each_id_in_its_color():
    table = labels.ClassTable.from_json(json.dumps(TABLE))
    label_map = np.array([[[2, 5], [6, 77]]], np.uint8)
    expected = [[[[128, 64, 128], [0, 0, 142]], [[0, 0, 70], [0, 0, 0]]]]
    np.testing.assert_array_equal(table.colorize(label_map), np.array(expected, np.uint8))


def test_cityscapes_is_the_official_table():
    table = labels.CITYSCAPES
    assert [c.id for c in table.classes] == list(range(35))
    assert (table.num_classes, table.num_eval_classes) == (35, 19)
    train_ids = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255]
    train_ids += [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18, 255]
    assert table.eval_lookup[:35].tolist() == train_ids
    assert table.palette[26].tolist() == [0, 0, 142]


def test_streets_has_the_scored_classes_in_their_colors():
    assert labels.STREETS.eval_names == labels.CITYSCAPES.eval_names
    assert [c.id for c in labels.STREETS.classes] == list(range(19))
    ids = np.flatnonzero(labels.CITYSCAPES.eval_lookup != labels.VOID)
    streets_ids = labels.CITYSCAPES.eval_lookup[ids]
    np.testing.assert_array_equal(
        labels.STREETS.colorize(streets_ids), labels.CITYSCAPES.colorize(ids)
    )


def test_synthia_is_the_published_table():
    table = labels.SYNTHIA
    assert [c.id for c in table.classes] == list(range(16))
    assert (table.num_classes, table.num_eval_classes) == (16, 13)
    assert table.eval_lookup[:16].tolist() == [255, *range(12), 255, 255, 12]
    assert [table.eval_names[index] for index in (0, 7, 12)] == ["sky", "car", "traffic light"]
    assert table.palette[[8, 12, 15]].tolist() == [[64, 0, 128], [0, 172, 0], [0, 128, 128]]


@pytest.mark.parametrize("table", [labels.CITYSCAPES, labels.STREETS, labels.SYNTHIA])
def test_json_round_trip_through_text_and_file(table, tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(table.to_json())
    assert labels.ClassTable.from_json(table.to_json()) == table
    assert labels.ClassTable.from_json(path) == table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "toy", "classes": [', "expected JSON"),
        ("[1, 2]", "expected an object"),
        ('{"classes": [{"id": 1}]}', '"name": "..."'),
        ('{"name": "toy", "classes": []}', "at least one class"),
        ('{"name": "toy", "classes": [7]}', "class 0: found 7, expected an object"),
        (_changed(id=2), "classes 0 and 1 both have id 2, expected every id once"),
        (_changed(id=256), '"id" is 256, expected a whole number from 0 to 255'),
        (_changed(id=-1), '"id" is -1'),
        (_changed(id=True), '"id" is True'),
        (_changed(id=1.0), '"id" is 1.0'),
        (_changed(name=""), "\"name\" is '', expected a text"),
        (_changed(color=[1, 2]), r'"color" is [1, 2], expected [red, green, blue], 0 to 255'),
        (_changed(color=[1, 2, 300]), '"color" is [1, 2, 300]'),
        (_changed(color="red"), "\"color\" is 'red'"),
        (_changed(eval_id=255), '"eval_id" is 255, expected null or a whole number from 0 to 254'),
        (_changed(eval_id=3), "no class has eval_id 2 but one has 3"),
        (json.dumps({"name": "toy", "classes": [{"id": 0, "name": "x"}]}), 'has no "color"'),
        (_with_void([256]), '"void_ids" is [256], expected a list of whole numbers from 0 to 255'),
        (_with_void("rest"), '"void_ids" is "rest", expected a list'),
        (_with_void([255, 6]), '"void_ids" has 6, which a class has too, expected it once'),
    ],
)
def test_a_bad_table_is_one_error_that_names_the_file(text, message, tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        labels.ClassTable.from_json(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_missing_or_binary_file_is_one_error(tmp_path):
    with pytest.raises(InputError, match=r"classes\.json: not found"):
        labels.ClassTable.from_json(tmp_path / "classes.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.json: .*expected JSON"):
        labels.ClassTable.from_json(tmp_path / "binary.json")
