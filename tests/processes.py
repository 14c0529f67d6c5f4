"""Commands of the package as several processes on this machine, which find each other there."""

import os
import socket
import subprocess
import sys

from tests.conftest import PROJECT_ROOT
from tests.fast_jit import FAST_FLAGS


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(module, *arguments, num_processes=1, num_devices=1, **variables):
    """Starts the processes of one command, each with so many virtual devices."""
    flags = f"--xla_force_host_platform_device_count={num_devices} {FAST_FLAGS}"
    environment = os.environ | {"XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    command = [sys.executable, "-m", module, *map(str, arguments)]
    if num_processes > 1:
        command += ["--distributed", f"--coordinator_address=127.0.0.1:{free_port()}"]
        command += [f"--num_processes={num_processes}"]
    return [
        subprocess.Popen(
            [*command, f"--process_id={index}"] if num_processes > 1 else command,
            env=environment,
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(num_processes)
    ]


def finish(processes, timeout=300):
    """Waits for processes; the exit status, output and errors of each."""
    try:
        texts = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *both) for process, both in zip(processes, texts, strict=True)]
