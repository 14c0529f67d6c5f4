import numpy as np
import pytest

from sflow_jax.data.class_map import named_ids, read_class_map
from sflow_jax.data.labels import CITYSCAPES, STREETS, SYNTHIA
from sflow_jax.errors import InputError
from sflow_jax.translation.simulators import CARLA, CARLA_0_9_13, SYNTHIA_RAND, read_ids
from tests.conftest import PROJECT_ROOT
from tests.translation.trees import SIZE, annotation, ids, palette_picture, raw_tags, write


def test_carlas_tags_are_those_of_its_documentation():
    names = {c.id: (c.name, c.color) for c in CARLA.classes}
    assert len(names) == 29
    assert names[1] == ("road", (128, 64, 128))
    assert names[11] == ("sky", (70, 130, 180))
    assert names[24] == ("road line", (157, 234, 50))
    assert names[28] == ("guard rail", (180, 165, 180))
    former = {c.id: (c.name, c.color) for c in CARLA_0_9_13.classes}
    assert len(former) == 23
    assert former[7] == ("road", (128, 64, 128))
    assert former[10] == ("vehicle", (0, 0, 142))
    assert former[13] == ("sky", (70, 130, 180))
    assert former[22] == ("terrain", (145, 170, 100))


def test_tags_1_to_19_since_0_9_14_are_cityscapes_train_ids_plus_1():
    person = {"pedestrian": "person"}
    names = [person.get(c.name, c.name) for c in CARLA.classes[1:20]]
    assert names == [c.name for c in STREETS.classes]


@pytest.mark.parametrize("table", [CARLA, CARLA_0_9_13])
def test_raw_frames_and_palette_pictures_have_the_same_ids(table, tmp_path):
    expected = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8) % len(table.classes)
    write(tmp_path / "raw.png", raw_tags(expected))
    write(tmp_path / "raw_rgb.png", raw_tags(expected)[..., :3])
    write(tmp_path / "instance.png", raw_tags(expected, instance=201))
    write(tmp_path / "palette.png", palette_picture(expected, table))
    write(tmp_path / "gray.png", expected)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_ids(path, table)[..., 0], expected, err_msg=path.name)


def test_colors_of_no_palette_are_listed_with_their_pixels(tmp_path):
    colors = palette_picture(ids(0, CARLA))
    colors[0, :3, :3] = 1, 2, 3
    colors[1, :2, :3] = 200, 2, 3
    write(tmp_path / "x.png", colors)
    with pytest.raises(InputError, match=r"2 colors .*\(1, 2, 3\) on 3 pixels, \(200, 2, 3\) on 2"):
        read_ids(tmp_path / "x.png", CARLA)


def test_16_bits_are_no_tags(tmp_path):
    write(tmp_path / "x.png", annotation(ids(0, CARLA)))
    with pytest.raises(InputError, match=r"x\.png: found a .*16 bits, expected a PNG of 8 bits"):
        read_ids(tmp_path / "x.png", CARLA)


@pytest.mark.parametrize("table", [SYNTHIA, SYNTHIA_RAND])
def test_synthias_ids_are_in_red(table, tmp_path):
    expected = ids(3, table, ["road", "sky", "traffic light"])
    write(tmp_path / "x.png", annotation(expected))
    np.testing.assert_array_equal(read_ids(tmp_path / "x.png", table)[..., 0], expected)


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("carla_to_cityscapes", CARLA, CITYSCAPES),
        ("carla_0.9.13_to_cityscapes", CARLA_0_9_13, CITYSCAPES),
        ("carla_to_streets", CARLA, STREETS),
        ("synthia_to_cityscapes", SYNTHIA, CITYSCAPES),
        ("synthia-rand_to_cityscapes", SYNTHIA_RAND, CITYSCAPES),
    ],
)
def test_the_class_maps_that_ship_name_a_class_for_every_class(name, source, target):
    class_map = read_class_map(PROJECT_ROOT / f"configs/{name}.json")
    found = named_ids(source, target, class_map.names, name)
    assert found.keys() == {c.id for c in source.classes}
    names = {c.id: c.name for c in target.classes}
    assert names[found[next(c.id for c in source.classes if c.name == "pedestrian")]] == "person"
