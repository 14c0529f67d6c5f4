import json
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest

from sflow_jax import train_segmenter, variables
from sflow_jax.data.labels import ClassTable, LabelClass
from sflow_jax.errors import InputError
from sflow_jax.segmentation.unet import UNet

# The ids of the label maps are not those of the scores, and one class is not scored.
TABLE = ClassTable(
    "shapes",
    (
        LabelClass(2, "void", (0, 0, 0), None),
        LabelClass(5, "ground", (128, 64, 128), 0),
        LabelClass(7, "box", (0, 0, 142), 1),
        LabelClass(9, "sky", (70, 130, 180), 2),
    ),
)


def test_sizes_are_width_times_height():
    assert train_segmenter.parse_size("256x128") == (256, 128)


@pytest.mark.parametrize("text", ["256", "256x", "x128", "axb", "-1x4", ""])
def test_other_sizes_are_refused(text):
    with pytest.raises(InputError, match=f"--sizes: found '{text}', expected WIDTHxHEIGHT"):
        train_segmenter.parse_size(text)


def draw_scene(seed, height=32, width=64):
    """Sky above ground, a box, a void bar; RGB image with noise and its label map."""
    random = np.random.RandomState(seed)
    label_map = np.full((height, width), 9, np.uint8)
    label_map[random.randint(10, 20) :] = 5
    top, left = random.randint(4, 16), random.randint(8, 40)
    label_map[top : top + 10, left : left + 14] = 7
    label_map[:, :4] = 2
    image = TABLE.palette[label_map] + random.normal(0, 20, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), label_map


def run_command(*arguments):
    command = [sys.executable, "-m", "sflow_jax.train_segmenter", "--config", "configs/folder.py"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def test_command_trains_scores_and_writes_a_network(tmp_path):
    for split, seeds in (("train", range(16)), ("test", range(100, 105))):
        for seed in seeds:
            for kind, array in zip(("image", "label"), draw_scene(seed), strict=True):
                path = tmp_path / "data" / split / "a" / kind / f"{seed}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), array[..., ::-1] if kind == "image" else array)
    (tmp_path / "data" / "classes.json").write_text(TABLE.to_json())
    output = tmp_path / "network.safetensors"
    result = run_command(
        f"--config.data.source={tmp_path}/data",
        f"--config.data.data_dir={tmp_path}/prepared",
        f"--output={output}",
        "--sizes=64x32",
        "--num_steps=80",
        "--batch_pixels=8192",
    )
    assert result.returncode == 0, result.stderr
    assert "80/80" in result.stderr  # the progress bar
    report = json.loads(output.with_suffix(".json").read_text())
    scores = report["scores"]["64x32"]
    assert scores["mean_iou"] > 0.85
    assert scores["class_iou"].keys() == {"ground", "box", "sky"}
    assert f"{100 * scores['mean_iou']:.2f}" in result.stdout

    network = UNet(3)
    images = np.stack([draw_scene(seed)[0] for seed in range(100, 105)]) / 127.5 - 1
    shapes = variables.shapes_of(jax.eval_shape(network.init, jax.random.key(0), images))
    predicted = network.apply(variables.read_variables(output, shapes), images).argmax(-1)
    true_labels = np.stack([draw_scene(seed)[1] for seed in range(100, 105)])
    accuracy = (TABLE.eval_lookup[true_labels] == predicted)[:, :, 4:].mean()
    assert accuracy == pytest.approx(scores["pixel_accuracy"], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output=weights.npz"], "--output: found weights.npz, expected a name that ends in"),
        (["--output=a.safetensors", "--sizes=big"], "--sizes: found 'big'"),
        ([], "output"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    result = run_command(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
