"""Previews show what sampling would give at their step."""

import types

import numpy as np

from configs import streets
from sflow_jax.pictures import edges_to_rgb
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.preview import Preview
from tests.random_weights import EDGE_THRESHOLD, random_state
from tests.stub_networks import stub_method
from tests.tiny_run import TABLE, random_frame

SIZE = (32, 40)
SCHEDULE = Schedule(
    1, laplacian_steps=2, ramp_steps=4, constant_steps=10, decay_steps=20, num_steps=20
)


def test_a_preview_in_the_ramp_is_the_translation_of_its_step():
    config = streets.get_test_config()
    config.edges.threshold, config.edges.quantile = EDGE_THRESHOLD, None
    examples = [
        {key: array[None] for key, array in random_frame(seed, SIZE).items()} | {"name": f"{seed}"}
        for seed in range(2)
    ]
    dataset = types.SimpleNamespace(
        num_examples={"train": 2}, source=lambda split: examples, class_table=TABLE
    )
    method = stub_method(config, TABLE, SCHEDULE)
    state = random_state(method, config, SCHEDULE).replace(step=np.int32(4))
    sheet = Preview(dataset, method, config).draw(state)["preview"]

    label, cg = (np.stack([example[key][0] for example in examples]) for key in ("label", "cg"))
    expected = method.translate(state.ema_params, label, cg, share=0.5)
    columns = {9: expected["edge_map"], 10: expected["picture"]}
    for column, pictures in columns.items():
        for row in range(2):
            top, left = 16 + row * (SIZE[0] + 2), column * (SIZE[1] + 2)
            found = sheet[top : top + SIZE[0], left : left + SIZE[1]].astype(int)
            picture = np.asarray(pictures[row])
            picture = picture if picture.shape[-1] == 3 else edges_to_rgb(picture)
            assert picture.std() > 2
            assert np.abs(found - picture).max() <= 1
