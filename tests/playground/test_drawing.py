import dataclasses

import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.playground.drawing import Controls, default_controls, draw, require_ensemble
from tests.sampling.runs import assert_same_picture
from tests.tiny_run import restore_fast, tiny_config, write_run


def test_the_first_controls_give_what_sampling_gives(model, scene):
    controls = default_controls(model)
    assert controls.weights == pytest.approx([1 / 6] * 6)
    drawing = draw(model, scene, controls)
    outputs = model.translate(scene.label[None], scene.edge_image[None])
    assert_same_picture(drawing.pictures[0], np.asarray(outputs["picture"][0]))
    edges = np.rint(255 * np.asarray(outputs["edge_map"][0])).repeat(3, -1)
    assert np.abs(drawing.edge_map - edges).max() <= 1
    laplacian = 255 * np.asarray(outputs["laplacian"][0]).repeat(3, -1)
    np.testing.assert_array_equal(drawing.laplacian, laplacian)
    np.testing.assert_array_equal(drawing.edge_image, scene.edge_image)


def test_weights_threshold_and_seed_change_what_they_are_to_change(model, scene):
    start = dataclasses.replace(default_controls(model), num_variants=3)
    first = draw(model, scene, start)
    finest = draw(model, scene, dataclasses.replace(start, weights=[1, 0, 0, 0, 0, 0]))
    assert np.any(finest.edge_map != first.edge_map)
    assert np.any(finest.pictures[0] != first.pictures[0])
    np.testing.assert_array_equal(finest.pictures[1], first.pictures[1])  # drawn by the seed
    other = draw(model, scene, dataclasses.replace(start, seed=1))
    np.testing.assert_array_equal(other.pictures[0], first.pictures[0])
    assert np.any(other.pictures[1] != first.pictures[1])
    fewer = draw(model, scene, dataclasses.replace(start, edges=0.9))
    assert (fewer.laplacian > 0).sum() < (first.laplacian > 0).sum()
    assert np.any(fewer.pictures[0] != first.pictures[0])  # DNED sees these edges


def test_a_run_with_a_quantile_has_a_share_of_edges(model, scene):
    config = model.config.copy_and_resolve_references()
    config.edges.quantile = 0.85
    by_share = dataclasses.replace(model, config=config)
    assert default_controls(by_share).edges == pytest.approx(0.15)
    drawing = draw(by_share, scene, Controls([1] * 6, 0.05, 0, 1))
    assert 0.03 <= (drawing.laplacian > 0).mean() <= 0.05


def test_weights_of_zero_are_refused(model, scene):
    with pytest.raises(InputError, match="weights: found only 0"):
        draw(model, scene, Controls([0] * 6, 0.1, 0, 1))


def test_a_generator_without_dned_is_refused(model, tmp_path):
    require_ensemble(model)
    write_run(tmp_path / "run", tiny_config(**{"generator.edges": "laplacian"}))
    with pytest.raises(InputError, match=r"^--workdir: found a run of sflow at step 4: .*DNED"):
        require_ensemble(restore_fast(tmp_path / "run"))
