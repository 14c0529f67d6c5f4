"""SIGTERM: one line, a status, nothing half written, be the main thread where it may."""

import re
import signal
import subprocess
import sys
import time

from tests.conftest import PROJECT_ROOT
from tests.processes import free_port


def end(program, *arguments, grace=10):
    """SIGTERM to a program once it has said that it is busy; status, errors and seconds."""
    code = f"from sflow_jax import termination\ntermination.GRACE_SECONDS = {grace}\n{program}"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "busy\n", process.communicate()
    start = time.monotonic()
    process.terminate()
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors, time.monotonic() - start


_IN_PYTHON = """
import pathlib, sys, time
from sflow_jax import cli, files
folder = pathlib.Path(sys.argv.pop())
def main():
    with files.whole_folder(folder) as part:
        (part / "a").touch()
        print("busy", flush=True)
        time.sleep(50)
cli.run(main)
"""

# Python runs no handler during a call in C, such as a compilation.
_IN_C = """
import hashlib, sys
from sflow_jax import cli
def main():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
cli.run(main)
"""

_WEIGHTS = """
import sys, time
from sflow_jax.pretrained import weights
def get(*_):
    print("busy", flush=True)
    time.sleep(50)
weights.get = get
weights.main(["get", "hed", "--cache_dir", sys.argv.pop()])
"""

_WHILE_COMPILING = """
import hashlib
from sflow_jax.training.stopping import StopRequest
stop = StopRequest(7)
with stop.listening():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""

_BETWEEN_STEPS = """
import time
from sflow_jax.training.stopping import StopRequest
stop = StopRequest(7)
with stop.listening():
    stop.follow(8)
    print("busy", flush=True)
    while not stop:
        time.sleep(0.01)
    time.sleep(0.2)
    print(f"saved, {stop.cause}")
"""


def test_what_is_half_written_is_removed(tmp_path):
    status, errors, _ = end(_IN_PYTHON, tmp_path / "out")
    assert (status, errors) == (143, "error: stopped by SIGTERM\n")
    assert not list(tmp_path.iterdir())


def test_the_command_of_the_weights_ends_as_all_others(tmp_path):
    status, errors, _ = end(_WEIGHTS, tmp_path)
    assert (status, errors) == (143, "error: stopped by SIGTERM\n")


def test_a_call_that_takes_no_notice_is_ended():
    status, errors, seconds = end(_IN_C, grace=0.5)
    assert (status, errors) == (143, "\nerror: stopped by SIGTERM\n")
    assert seconds < 10


def test_a_run_that_compiles_its_first_step_ends_with_nothing_lost():
    status, errors, seconds = end(_WHILE_COMPILING, grace=0.5)
    assert (status, errors) == (
        143,
        "\nSIGTERM: the run is saved after step 8, or ends without in 0.5 s\n"
        "\nerror: stopped by SIGTERM while the first step was compiled, with nothing new to save; "
        "the same command resumes\n",
    )
    assert seconds < 10


def test_a_run_says_at_which_step_it_will_save():
    status, errors, _ = end(_BETWEEN_STEPS, grace=0.1)
    assert (status, errors) == (0, "\nSIGTERM: the run is saved after step 9\n")


# JAX replaces the handler of SIGTERM when processes join; one suffices for that.
_JOINED = """
import sys
from sflow_jax import cli
cli.define_distributed_flags()
sys.argv += [
    "--distributed", f"--coordinator_address=127.0.0.1:{sys.argv.pop()}",
    "--num_processes=1", "--process_id=0",
]
"""

_AWAY_FROM_THE_LOOP = """
import time
def main():
    print("busy", flush=True)
    time.sleep(50)
cli.run(main)
"""

_IN_THE_LOOP = """
import hashlib, time
from sflow_jax.training.stopping import SharedStopRequest
def main():
    stop = SharedStopRequest(7)
    with stop.listening():
        if COMPILES:
            print("busy", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
        for step in range(8, 1000):
            if stop:
                print(f"saved, {stop.cause}")
                return
            stop.follow(step)
            if step == 8:
                print("busy", flush=True)
            time.sleep(0.05)
cli.run(main)
"""


def test_several_processes_end_outside_the_training_loop_as_one_does():
    status, errors, seconds = end(_JOINED + _AWAY_FROM_THE_LOOP, free_port())
    assert (status, errors) == (143, "error: stopped by SIGTERM\n")
    assert seconds < 10


def test_several_processes_that_train_are_told_and_save():
    status, errors, _ = end(f"COMPILES = False{_JOINED}{_IN_THE_LOOP}", free_port())
    assert status == 0
    assert re.search(r"^SIGTERM: the run is saved soon after step \d+$", errors, re.M), errors


def test_several_processes_that_compile_their_first_step_end():
    program = f"COMPILES = True{_JOINED}{_IN_THE_LOOP}"
    status, errors, seconds = end(program, free_port(), grace=0.5)
    assert status == 143
    assert "SIGTERM: the run is saved soon after step 8, or ends without in 0.5 s\n" in errors
    assert "stopped by SIGTERM while the first step was compiled" in errors
    assert seconds < 10


def test_the_handlers_before_are_restored():
    from sflow_jax.termination import Terminated, terminated_by_signal

    before = signal.getsignal(signal.SIGTERM)
    with terminated_by_signal():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert not issubclass(Terminated, Exception)
