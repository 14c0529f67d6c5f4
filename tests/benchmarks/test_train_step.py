import pytest

from benchmarks import measure, steps, train_step


class CompiledStep:
    """In the place of a compiled step: knows what it computes."""

    gflop_per_image = 2.0
    xla_gflop_per_image = 3.0
    compile_seconds = 1.5
    peak_bytes = 2**29

    def __init__(self, config, batch):
        pass

    def __call__(self):
        return 0


@pytest.fixture
def options(monkeypatch):
    """Of measurements of two steps that take these seconds together."""
    seconds = {"ours": 0.04, "image": 0.16, "video": 0.4, "flow": 0.02}

    def time_in_turn(functions, num_measurements):
        return {name: measure.Timing(seconds[name], 0.01, 1.0) for name in functions}

    monkeypatch.setattr(measure, "time_in_turn", time_in_turn)
    monkeypatch.setattr(steps, "OurStep", CompiledStep)
    return train_step.parse(["--sizes=32x16:2", "--peak_tflops=1", "--steps=2", "--set=seed=1"])


def test_rows_of_ours_relate_time_work_and_images(options):
    image, video = train_step.measure_case(options, "ours", options.sizes[0], 2)
    shared = {"size": "32x16", "ngf": 2, "batch": 2, "type": "float32", "set": "seed 1"}
    work = {"GFLOP/image": 2.0, "by XLA": 3.0, "compile, s": 1.5, "peak GiB": 0.5}
    assert image == {
        "step": "S-Flow GAN, image",
        **shared,
        **work,
        "time": measure.Timing(0.08, 0.005, 0.5),
        "images/s": 25.0,
        "TFLOP/s": 0.05,
        "limit": 1.0,
        "of the limit": "5.0%",
        "beside": "-",
    }
    assert video == {
        "step": "S-Flow GAN, video",
        **shared,
        **work,
        "time": measure.Timing(0.2, 0.005, 0.5),
        "images/s": 20.0,  # two frames of each pair
        "TFLOP/s": 0.04,
        "limit": 1.0,
        "of the limit": "4.0%",
        "beside": "2.50 x image, flow 5.0% of it",
    }


def test_a_pair_without_a_peer_is_ours_alone(options):
    (row,) = train_step.measure_case(options, "pair", options.sizes[0], 1)
    assert row["step"] == "pix2pixHD, ours"
    assert row["time"].median == 0.02
    assert row["images/s"] == 50.0
    assert row["beside"] == "1.00 x ours"
