from sflow_jax import sharding
from sflow_jax.training import metric_log


def test_of_several_processes_only_the_first_writes(tmp_path, monkeypatch):
    nowhere = tmp_path / "null"
    nowhere.write_text("")
    inode = nowhere.stat().st_ino
    monkeypatch.setattr(metric_log.os, "devnull", str(nowhere))
    monkeypatch.setattr(sharding, "is_first_host", lambda: False)
    with metric_log.MetricLog(tmp_path, 3) as log:
        log.write_scalars(4, {"l1": 0.5})
    assert nowhere.stat().st_ino == inode  # a device as root would find it
    assert list(tmp_path.iterdir()) == [nowhere]
