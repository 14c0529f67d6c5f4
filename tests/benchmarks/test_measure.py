import json
import sys

from benchmarks import measure


def test_a_record_has_no_folders_of_its_machine(tmp_path, monkeypatch, capsys):
    arguments = ["--pix2pixhd", "/home/someone/pix2pixHD", f"--output={tmp_path}", "--sizes=1x1:1"]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    measure.report("name", [{"time": measure.Timing(0.002, 0.001, 0.003)}], tmp_path)
    record = json.loads((tmp_path / "name.json").read_text())
    expected = ["--pix2pixhd", "pix2pixHD", f"--output={tmp_path.name}", "--sizes=1x1:1"]
    assert record["command"] == expected
    assert record["rows"] == [{"time": {"median": 0.002, "lower": 0.001, "upper": 0.003}}]
    assert "2.00 ms (1.00-3.00)" in capsys.readouterr().out


def test_the_share_of_the_limit_is_of_the_median():
    timing = measure.Timing(0.5, 0.1, 0.9)
    found = measure.beside_limit(gflop=100.0, timing=timing, limit=0.8)
    assert found == {"TFLOP/s": 0.2, "limit": 0.8, "of the limit": "25.0%"}


def test_a_timing_is_median_and_quartiles():
    assert measure.summarize([3.0, 1.0, 2.0]) == measure.Timing(2.0, 1.5, 2.5)
