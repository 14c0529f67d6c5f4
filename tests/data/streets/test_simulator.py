import itertools

import cv2
import numpy as np
import pytest

from sflow_jax.data.labels import STREETS
from sflow_jax.data.streets import render_clip
from sflow_jax.data.streets.geometry import SKY_DEPTH, cast
from sflow_jax.data.streets.scene import sample_scene
from sflow_jax.data.streets.simulator import _camera
from sflow_jax.ops.laplacian import laplacian_edges

ID = {label_class.name: label_class.id for label_class in STREETS.classes}
HEIGHT, WIDTH = 64, 128


@pytest.fixture(scope="module")
def clips() -> list[dict]:
    """Clips of six streets."""
    return [render_clip(seed, num_frames=2, height=HEIGHT, width=WIDTH) for seed in range(6)]


def test_a_seed_gives_the_same_clip_bit_for_bit_and_another_seed_another_street(clips):
    again = render_clip(3, num_frames=2, height=HEIGHT, width=WIDTH)
    for key, array in clips[3].items():
        np.testing.assert_array_equal(array, again[key])
    for first, second in itertools.pairwise(clips):
        assert (first["label"] != second["label"]).mean() > 0.1
        difference = first["image"].astype(float) - second["image"]
        assert np.abs(difference).mean() > 20


def test_the_first_frame_does_not_depend_on_the_length_of_the_clip(clips):
    single = render_clip(3, num_frames=1, height=HEIGHT, width=WIDTH)
    for key in ("image", "cg", "label", "instance", "depth"):
        np.testing.assert_array_equal(single[key][0], clips[3][key][0])
    assert single["exact_flow"].shape == (0, HEIGHT, WIDTH, 2)
    assert single["occlusion"].shape == (0, HEIGHT, WIDTH, 1)


def test_a_street_is_the_same_at_every_size(clips):
    large = render_clip(2, num_frames=1, height=2 * HEIGHT, width=2 * WIDTH)
    small = clips[2]
    shrunk = cv2.resize(large["image"][0], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(float) - small["image"][0]).mean() < 6
    assert (large["label"][0, 1::2, 1::2] == small["label"][0]).mean() > 0.93


def test_instances_are_things_of_their_class(clips):
    for clip in clips:
        label, instance = clip["label"].astype(int), clip["instance"].astype(int)
        is_thing = label >= ID["person"]
        assert (instance[is_thing] // 1000 == label[is_thing]).all()
        assert (instance[~is_thing] == label[~is_thing]).all()
        assert len(np.unique(instance[is_thing])) > 5


def test_the_road_is_a_plane_and_the_sky_is_far(clips):
    for seed, clip in enumerate(clips):
        camera = _camera(sample_scene(seed), 0, HEIGHT, WIDTH)
        label, depth = clip["label"][0, ..., 0], clip["depth"][0, ..., 0]
        assert (depth[label == ID["sky"]] == SKY_DEPTH).all()
        below = np.arange(HEIGHT) + 0.5 - camera.principal_point[1]
        with np.errstate(divide="ignore"):
            plane = -camera.position[1] * camera.focal_length / below[:, None]
        expected = np.broadcast_to(plane, depth.shape)[label == ID["road"]]
        np.testing.assert_allclose(depth[label == ID["road"]], expected, rtol=1e-4)


def test_all_classes_occur_and_streets_look_like_streets():
    counts = np.zeros(19)
    for seed in range(100, 130):
        scene = sample_scene(seed)
        buffer = cast(scene.primitives, _camera(scene, 0, 32, 64), 0)
        ids = np.array([p.label for p in scene.primitives] + [ID["sky"]])[buffer.primitive]
        counts += np.bincount(ids.ravel(), minlength=19)
    share = dict(zip(ID, counts / counts.sum(), strict=True))
    assert min(share.values()) > 0.0002
    assert 0.2 < share["road"] < 0.45
    assert 0.15 < share["building"] < 0.4
    assert 0.03 < share["sky"] < 0.2
    assert share["car"] > 0.04
    assert share["vegetation"] > 0.04


def test_exact_flow_finds_the_same_surface_in_the_next_frame():
    # On a static surface, the depth that the next frame shows at the end of the flow is the depth
    # of the same point, seen from the next camera.
    seed, size = 8, {"height": 128, "width": 256}
    clip, scene = render_clip(seed, num_frames=2, **size), sample_scene(seed)
    now, following = (_camera(scene, frame, **size) for frame in (0, 1))
    points = now.position + clip["depth"][0] * now.directions()
    seen = ~clip["occlusion"][0, ..., 0] & (clip["label"][0, ..., 0] <= ID["terrain"])
    expected = following.project(points)[..., 2]
    rows, columns = np.mgrid[0:128, 0:256].astype(np.float32)
    target = columns + clip["exact_flow"][0, ..., 0], rows + clip["exact_flow"][0, ..., 1]
    nearness = 1 / clip["depth"][1, ..., 0]  # linear in the image of a plane
    inside = cv2.dilate(np.abs(cv2.Laplacian(nearness, cv2.CV_32F)), np.ones((3, 3))) < 1e-4
    seen &= cv2.remap(inside.astype(np.uint8), *target, cv2.INTER_NEAREST) > 0
    error = np.abs(cv2.remap(nearness, *target, cv2.INTER_LINEAR) * expected - 1)[seen]
    assert seen.mean() > 0.3
    assert np.median(error) < 1e-3
    assert np.quantile(error, 0.99) < 0.01


def test_exact_flow_warps_the_next_frame_onto_this_one():
    still, warped = [], []
    for seed in (7, 8, 9):
        clip = render_clip(seed, num_frames=2, height=128, width=256)
        frame, following = clip["image"].astype(np.float32)
        rows, columns = np.mgrid[0:128, 0:256].astype(np.float32)
        flow, seen = clip["exact_flow"][0], ~clip["occlusion"][0, ..., 0]
        moved = cv2.remap(following, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
        warped.append(np.abs(moved - frame)[seen].mean())
        still.append(np.abs(following - frame)[seen].mean())
        assert np.quantile(np.linalg.norm(flow[seen], axis=-1), 0.9) > 2  # worth a flow loss
    assert np.mean(warped) < 6  # of 255: sampling and sensor noise
    assert np.mean(warped) < 0.5 * np.mean(still)


def test_what_leaves_the_image_is_occluded(clips):
    for clip in clips:
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
        x, y = columns + clip["exact_flow"][0, ..., 0], rows + clip["exact_flow"][0, ..., 1]
        outside = (x < 0) | (x >= WIDTH) | (y < 0) | (y >= HEIGHT)
        assert outside.any()
        assert clip["occlusion"][0, ..., 0][outside].all()
        assert clip["occlusion"].mean() < 0.35


def test_a_long_drive_never_runs_into_anything():
    for seed in range(20):
        scene = sample_scene(seed)
        for frame in (0, 15, 30, 45):
            buffer = cast(scene.primitives, _camera(scene, frame, 16, 32), frame)
            assert buffer.depth[:, 12:20].min() > 1.0, (seed, frame)


def test_labels_do_not_tell_buildings_apart_but_both_pictures_do(clips):
    for clip in clips:
        is_building = clip["label"][0, ..., 0] == ID["building"]
        for key in ("image", "cg"):
            color = clip[key][0][is_building].astype(float)
            assert color.std(0).mean() > 25


def test_edges_of_cg_frames_resemble_those_of_photos_which_have_more():
    frames = [render_clip(seed, num_frames=1, height=256, width=512) for seed in (7, 8)]
    photo, cg = (
        _edges(np.concatenate([frame[key] for frame in frames])) for key in ("image", "cg")
    )
    # Eight frames of Cityscapes have 0.055 to 0.168; crowns with twigs are more restless here.
    assert 0.05 < cg.mean() < photo.mean() < 0.2
    near_photo_edge = np.array([cv2.dilate(edges, np.ones((3, 3), np.uint8)) for edges in photo])
    assert near_photo_edge[cg > 0].mean() > 0.8


def _edges(images: np.ndarray) -> np.ndarray:
    edges = laplacian_edges(images.astype(np.float32) / 127.5 - 1)
    return np.asarray(edges)[..., 0].astype(np.uint8)
