import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from sflow_jax.data import images, photographs
from sflow_jax.errors import InputError

RGB = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8), (48, 32))
LOSSLESS = (".png", ".bmp", ".tif", ".ppm")
LOSSY = (".jpg", ".webp")


def _save(path, image=RGB, orientation=1, **options):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if path.suffix not in (".bmp", ".ppm"):
        options["exif"] = exif
    Image.fromarray(image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", LOSSLESS + LOSSY)
def test_photographs_are_read_whatever_their_format(suffix, tmp_path):
    path = _save(tmp_path / f"a{suffix}")
    assert images.check_header(path, "image").size == (48, 32)
    error = np.abs(images.read_color(path).astype(int) - RGB).mean()
    assert error == 0 if suffix in LOSSLESS else 0 < error < 8


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_pictures_as_viewers_show_them(suffix, orientation, tmp_path):
    path = _save(tmp_path / f"a{suffix}", orientation=orientation)
    with Image.open(path) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    found = images.read_color(path)
    np.testing.assert_array_equal(found, shown)
    assert images.check_header(path, "cg").size == found.shape[1::-1]


def test_ids_are_never_turned(tmp_path):
    path = _save(tmp_path / "a.png", RGB[..., 0], orientation=6)
    assert images.check_header(path, "instance").size == (48, 32)
    np.testing.assert_array_equal(images.read_instance_map(path)[..., 0], RGB[..., 0])


@pytest.mark.parametrize("exif", [b"", b"II*\0\xff\xff\xff\xff", b"nonsense"])
def test_damaged_exif_turns_nothing(exif, tmp_path):
    assert photographs.exif_orientation(exif) == 1
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    png = images.encode_png(RGB)
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])
    np.testing.assert_array_equal(images.read_color(tmp_path / "a.png"), RGB)


def test_gray_and_cmyk_become_rgb_and_alpha_is_dropped(tmp_path):
    Image.fromarray(RGB[..., 0]).save(tmp_path / "gray.bmp")
    gray = images.read_color(tmp_path / "gray.bmp")
    np.testing.assert_array_equal(gray, np.stack([RGB[..., 0]] * 3, -1))
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "cmyk.tif")
    np.testing.assert_array_equal(images.read_color(tmp_path / "cmyk.tif"), RGB)
    with_alpha = np.dstack([RGB, np.full(RGB.shape[:2], 9, np.uint8)])
    Image.fromarray(with_alpha).save(tmp_path / "alpha.webp", lossless=True, exact=True)
    np.testing.assert_array_equal(images.read_color(tmp_path / "alpha.webp"), RGB)


@pytest.mark.parametrize("suffix", LOSSY + LOSSLESS[1:])
def test_a_truncated_picture_is_found_by_its_check(suffix, tmp_path):
    path = _save(tmp_path / f"a{suffix}")
    content = path.read_bytes()
    for kept in (len(content) // 2, 20):
        path.write_bytes(content[:kept])
        with pytest.raises(InputError, match=rf"a{suffix}: .*; expected a picture of 8 bits"):
            images.check_header(path, "image")


def test_pictures_that_are_not_one_of_8_bits_are_refused(tmp_path):
    Image.fromarray(RGB[..., 0].astype(np.uint16)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: found pixels of 'I;16', expected a picture of"):
        images.read_color(tmp_path / "a.tif")
    frames = [Image.fromarray(x) for x in (RGB, 255 - RGB)]
    frames[0].save(tmp_path / "b.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"b\.webp: found 2 pictures, expected one"):
        images.check_header(tmp_path / "b.webp", "image")


def test_a_missing_photograph_is_not_asked_to_be_a_png(tmp_path):
    path = tmp_path / "a.jpg"
    for read in (images.read_color, images.file_status, lambda p: images.check_header(p, "image")):
        with pytest.raises(InputError) as error:
            read(path)
        assert str(error.value) == f"{path}: No such file or directory; expected a file to read"


def test_of_a_phone_s_several_pictures_the_photograph_counts(tmp_path):
    frames = [Image.fromarray(x) for x in (RGB, RGB[:16, :16])]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert images.check_header(tmp_path / "a.jpg", "image").size == (48, 32)
    assert images.read_color(tmp_path / "a.jpg").shape == RGB.shape
