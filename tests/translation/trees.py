"""Exports as simulators write them, in their published layouts, with few and small frames."""

import cv2
import numpy as np

from sflow_jax.data import images
from sflow_jax.data.labels import SYNTHIA
from sflow_jax.translation.simulators import CARLA, CARLA_0_9_13, SYNTHIA_RAND

SIZE = (32, 40)
NAMES = ("road", "car", "sky", "road line")
# What the classes of a frame are in the table of the tiny run, `tiny_run.TABLE`.
TO_TINY = {"road line": "road"}


def ids(seed, table, names=NAMES):
    """Class ids in blocks of 4x4 pixels, [H, W], of the classes of these names."""
    known = {c.name: c.id for c in table.classes}
    blocks = np.random.RandomState(seed).choice([known[name] for name in names], (8, 10))
    return blocks.repeat(4, 0).repeat(4, 1).astype(np.uint8)


def picture(seed):
    """A CG frame, uint8 RGB [H, W, 3]."""
    blocks = np.random.RandomState(100 + seed).randint(0, 256, (8, 10, 3))
    return blocks.repeat(4, 0).repeat(4, 1).astype(np.uint8)


def write(path, image):
    """Writes RGB(A) of any depth, or one channel, in the format that the name says."""
    if image.ndim == 3 and image.shape[2] > 1:
        order = [2, 1, 0, 3][: image.shape[2]]
        image = image[..., order]
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def raw_tags(class_ids, instance=0):
    """As CARLA's semantic camera has it: ids in red, nothing in green and blue, opaque."""
    rest = np.full_like(class_ids, instance)
    return np.stack([class_ids, rest, rest, np.full_like(class_ids, 255)], -1)


def palette_picture(class_ids, table=CARLA):
    """As CARLA's CityScapesPalette converts it."""
    return np.concatenate([table.palette[class_ids], np.full((*SIZE, 1), 255, np.uint8)], -1)


def write_carla(folder, num_frames=3, table=CARLA, colored=False, first=7):
    """EPISODE/CAMERA/FRAME.png with the cameras of CARLA's example clients."""
    for index in range(num_frames):
        class_ids, name = ids(index, table), f"{first + index:06d}.png"
        tags = palette_picture(class_ids, table) if colored else raw_tags(class_ids)
        write(folder / "episode_0000/CameraRGB" / name, picture(index))
        write(folder / "episode_0000/CameraSemSeg" / name, tags)
        write(folder / "episode_0000/CameraDepth" / name, picture(50 + index))
    return folder


def annotation(class_ids):
    """As SYNTHIA has it: RGB of 16 bits, ids in red, instances in green."""
    return np.stack([class_ids, class_ids * 0 + 3, class_ids * 0], -1).astype(np.uint16)


def write_synthia(folder):
    """One camera of a drive of SYNTHIA's video sequences."""
    drive, camera = folder / "SYNTHIA-SEQS-04-DAWN", "Stereo_Left/Omni_F/000000.png"
    write(drive / "RGB" / camera, picture(0))
    write(drive / "GT/LABELS" / camera, annotation(ids(0, SYNTHIA, NAMES[:3])))
    write(drive / "GT/COLOR" / camera, picture(1))
    write(drive / "Depth" / camera, picture(2))
    return folder


def write_synthia_rand(folder):
    """SYNTHIA-RAND-CITYSCAPES."""
    for index in range(2):
        name = f"{index:07d}.png"
        write(folder / "RAND_CITYSCAPES/RGB" / name, picture(index))
        write(
            folder / "RAND_CITYSCAPES/GT/LABELS" / name,
            annotation(ids(index, SYNTHIA_RAND, NAMES[:3])),
        )
    return folder


TABLES = {"carla": CARLA, "carla-0.9.13": CARLA_0_9_13}


def relabeled(class_ids, source, target, names):
    """What the ids are in another table, pixel by pixel."""
    own = {c.id: names.get(c.name, c.name) for c in source.classes}
    known = {c.name: c.id for c in target.classes}
    return np.vectorize(lambda class_id: known[own[class_id]])(class_ids).astype(np.uint8)


def read(path):
    return images.read_color(path)
