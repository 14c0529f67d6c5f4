import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from sflow_jax.data import images, labels
from sflow_jax.errors import InputError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 19, (5, 7)).astype(np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)


def _save(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


def _png(header: tuple[int, int, int, int], stream: bytes) -> bytes:
    """A PNG by the standard's letter; header: width, height, bit depth and color type."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)),
        (b"IDAT", stream),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        checksum = zlib.crc32(kind + data)
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
    return content


def _write_annotation(path, annotation: np.ndarray):
    """Writes red, green, blue [H, W, 3] as a PNG of 16 bits."""
    height, width, _ = annotation.shape
    rows = [b"\0" + row.astype(">u2").tobytes() for row in annotation]
    path.write_bytes(_png((width, height, 16, 2), zlib.compress(b"".join(rows))))
    return path


def test_color_images_are_rgb_whatever_their_kind(tmp_path):
    rgb = _save(tmp_path / "rgb.png", Image.fromarray(RGB))
    np.testing.assert_array_equal(images.read_color(rgb), RGB)

    rgba = np.concatenate([RGB, np.full((5, 7, 1), 9, np.uint8)], axis=-1)
    path = _save(tmp_path / "rgba.png", Image.fromarray(rgba))
    np.testing.assert_array_equal(images.read_color(path), RGB)

    path = _save(tmp_path / "gray.png", Image.fromarray(GRAY))
    np.testing.assert_array_equal(images.read_color(path), np.stack([GRAY] * 3, axis=-1))


def test_encoded_images_are_read_back_exactly(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(images.encode_png(RGB))
    np.testing.assert_array_equal(images.read_color(path), RGB)

    instances = RNG.integers(0, 34000, (5, 7, 1)).astype(np.uint16)
    path.write_bytes(images.encode_png(instances))
    np.testing.assert_array_equal(images.read_instance_map(path), instances)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), instances[..., 0])


def test_a_label_map_is_gray_or_the_indices_of_a_palette(tmp_path):
    gray = _save(tmp_path / "gray.png", Image.fromarray(GRAY))
    palette = Image.fromarray(GRAY, "L").convert("P")
    palette = Image.frombytes("P", palette.size, GRAY.tobytes())
    palette.putpalette(labels.CITYSCAPES.palette.ravel().tolist())
    indexed = _save(tmp_path / "indexed.png", palette)
    few = Image.frombytes("P", (7, 5), (GRAY % 4).tobytes())
    few.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    two_bits = _save(tmp_path / "two_bits.png", few, bits=2)
    for path, expected in ((gray, GRAY), (indexed, GRAY), (two_bits, GRAY % 4)):
        label_map = images.read_label_map(path, labels.STREETS)
        assert label_map.dtype == np.uint8
        np.testing.assert_array_equal(label_map, expected[..., None])


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (RGB, "7x5 RGB PNG with 8 bits"),
        (np.concatenate([RGB, RGB[..., :1]], axis=-1), "7x5 RGBA PNG with 8 bits"),
        (GRAY.astype(np.uint16), "7x5 gray PNG with 16 bits"),
    ],
)
def test_a_label_map_of_another_kind_is_refused(array, found, tmp_path, write_with_opencv):
    path = write_with_opencv(tmp_path / "a.png", array)
    for read in (images.check_header, lambda path, _: images.read_label_map(path, labels.STREETS)):
        with pytest.raises(InputError) as error:
            read(path, "label")
        assert str(error.value) == (
            f"{path}: found a {found}, expected one 8-bit class id per pixel "
            "(a gray or palette PNG)"
        )


def test_a_one_bit_label_map_is_refused(tmp_path):
    path = _save(tmp_path / "a.png", Image.fromarray(GRAY > 4))
    with pytest.raises(InputError, match="gray PNG with 1 bits, expected one 8-bit class id"):
        images.check_header(path, "label")


def test_labels_outside_the_table_are_refused(tmp_path, write_with_opencv):
    label_map = GRAY.copy()
    label_map[0, :2] = (19, 77)
    path = write_with_opencv(tmp_path / "a.png", label_map)
    with pytest.raises(InputError) as error:
        images.read_label_map(path, labels.STREETS)
    assert str(error.value) == (
        f"{path}: found label 19, 77, expected only the 19 ids of the class table 'streets' "
        'and its "void_ids"'
    )
    many = write_with_opencv(tmp_path / "b.png", np.arange(60, 95, dtype=np.uint8).reshape(5, 7))
    with pytest.raises(InputError, match=r"found label 60, 61, 62, 63, 64, \.\.\., expected"):
        images.read_label_map(many, labels.STREETS)


def test_sixteen_bit_colors_and_colored_instances_are_refused(tmp_path, write_with_opencv):
    path = write_with_opencv(tmp_path / "a.png", RGB.astype(np.uint16))
    with pytest.raises(InputError, match="RGB PNG with 16 bits, expected 8 bits per channel"):
        images.read_color(path)
    path = write_with_opencv(tmp_path / "b.png", RGB)
    with pytest.raises(InputError, match="expected a gray PNG of 8 or 16 bits with instance ids"):
        images.read_instance_map(path)


def test_an_annotation_has_classes_in_red_and_instance_numbers_in_green(tmp_path):
    annotation = np.array(
        [[[8, 0, 7], [8, 2, 7], [10, 999, 7]], [[15, 0, 7], [0, 0, 0], [0, 8, 0]]]
    )
    path = _write_annotation(tmp_path / "a.png", annotation)
    label, instance = images.read_annotation(path, labels.SYNTHIA)
    assert (label.dtype, instance.dtype) == (np.uint8, np.uint16)
    assert label.tolist() == [[[8], [8], [10]], [[15], [0], [0]]]
    # Void is never counted: 8 would be a car.
    assert instance.tolist() == [[[8], [8002], [10999]], [[15], [0], [0]]]


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (RGB, "7x5 RGB PNG with 8 bits"),
        (GRAY, "7x5 gray PNG with 8 bits"),
        (GRAY.astype(np.uint16), "7x5 gray PNG with 16 bits"),
    ],
)
def test_an_annotation_of_another_kind_is_refused(array, found, tmp_path, write_with_opencv):
    path = write_with_opencv(tmp_path / "a.png", array)
    with pytest.raises(InputError) as error:
        images.read_annotation(path, labels.SYNTHIA)
    assert str(error.value) == (
        f"{path}: found a {found}, expected an RGB PNG of 16 bits: class ids in red, instance "
        "numbers in green"
    )


def test_an_annotation_with_impossible_values_is_refused(tmp_path):
    path = _write_annotation(tmp_path / "a.png", np.array([[[3, 0, 0], [16, 0, 0], [264, 0, 0]]]))
    with pytest.raises(InputError, match=r"a\.png: found label 16, 264, expected only the 16 ids"):
        images.read_annotation(path, labels.SYNTHIA)


def test_many_instances_never_reach_the_next_class(tmp_path):
    numbers = [1, 999, 1000, 1001, 65535]
    path = _write_annotation(tmp_path / "a.png", np.array([[[8, number, 0] for number in numbers]]))
    _, instance = images.read_annotation(path, labels.SYNTHIA)
    assert instance.ravel().tolist() == [8001, 8999, 8001, 8002, 8600]


def test_a_damaged_annotation_is_refused(tmp_path):
    path = _write_annotation(tmp_path / "a.png", RNG.integers(0, 16, (32, 32, 3)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.png: truncated PNG: found \d+ bytes"):
        images.read_annotation(path, labels.SYNTHIA)
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"a\.png: damaged PNG \(a checksum is wrong\)"):
        images.read_annotation(path, labels.SYNTHIA)
    path.write_bytes(_png((32, 32, 16, 2), b"no zlib stream"))
    with pytest.raises(InputError, match=r"a\.png: .*expected a PNG that can be decoded"):
        images.read_annotation(path, labels.SYNTHIA)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_found_by_its_header_check(kept, tmp_path):
    path = _save(tmp_path / "a.png", Image.fromarray(RNG.integers(0, 256, (64, 64), np.uint8)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=rf"{path}: (truncated PNG: found \d+|found bytes that)"):
        images.check_header(path, "label")


def test_a_damaged_file_is_found_when_it_is_read(tmp_path):
    path = _save(tmp_path / "a.png", Image.fromarray(RNG.integers(0, 19, (64, 64), np.uint8)))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 500] ^= 1
    path.write_bytes(content)
    images.check_header(path, "label")
    with pytest.raises(InputError, match=r"damaged PNG \(a checksum is wrong\)"):
        images.read_label_map(path, labels.STREETS)


@pytest.mark.parametrize("key", ["image", "instance"])
def test_pixels_that_do_not_decompress_are_an_error(key, tmp_path):
    path = tmp_path / "a.png"
    color_type = 2 if key == "image" else 0
    path.write_bytes(_png((64, 64, 8, color_type), b"no zlib stream"))
    read = images.read_color if key == "image" else images.read_instance_map
    with pytest.raises(InputError, match=f"{path}: .*expected a PNG that can be decoded"):
        read(path)


def test_bytes_after_the_last_chunk_do_no_harm(tmp_path):
    path = _save(tmp_path / "a.png", Image.fromarray(GRAY))
    path.write_bytes(path.read_bytes() + b"trailing")
    images.check_header(path, "label")
    np.testing.assert_array_equal(images.read_label_map(path, labels.STREETS)[..., 0], GRAY)


def test_what_is_no_png_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture at all, but long enough to be one")
    with pytest.raises(InputError, match=r"a\.png: found bytes that are no PNG's"):
        images.check_header(path, "image")
    path.write_bytes(cv2.imencode(".jpg", np.zeros((32, 32, 3), np.uint8))[1].tobytes())
    for key in ("label", "instance", "annotation"):
        with pytest.raises(InputError, match=r"a\.png: found a JPEG, .* formats may change ids$"):
            images.check_header(path, key)
    with pytest.raises(InputError, match=r"b\.png: No such file or directory"):
        images.check_header(tmp_path / "b.png", "image")
    with pytest.raises(InputError, match="Is a directory"):
        images.read_color(tmp_path)


def test_maps_are_resized_to_the_nearest_pixel_and_stay_aligned_with_images():
    ids = RNG.integers(0, 35, (64, 96)).astype(np.uint8)
    for height, width in ((16, 24), (17, 50), (128, 128), (64, 96)):
        expected = np.asarray(Image.fromarray(ids).resize((width, height), Image.NEAREST))
        found = images.resize_map(ids[..., None], height, width)
        np.testing.assert_array_equal(found[..., 0], expected)
        wide = images.resize_map(ids[..., None].astype(np.uint16) * 1000, height, width)
        np.testing.assert_array_equal(wide[..., 0], expected.astype(np.uint16) * 1000)

    # A vertical edge between two classes is at the same place as the edge between two colors.
    ids = np.repeat(np.arange(96) >= 48, 64).reshape(96, 64).T.astype(np.uint8)
    image = np.stack([ids * 255] * 3, axis=-1)
    small = images.resize_color(image, 16, 24)[..., :1]
    np.testing.assert_array_equal(images.resize_map(ids[..., None], 16, 24) * 255, small)


def test_colors_are_averaged():
    image = RNG.integers(0, 256, (8, 12, 3)).astype(np.uint8)
    means = image.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert np.abs(images.resize_color(image, 4, 6) - means).max() <= 0.5
    assert images.resize_color(image, 8, 12) is image
