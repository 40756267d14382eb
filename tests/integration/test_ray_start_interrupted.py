"""Ctrl-C or SIGTERM while Ray is starting: the command ends, and nothing that it started outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid

import psutil
import pytest

pytestmark = pytest.mark.slow

START = """
import time
from sweeps.run import cluster
with cluster.connected(None):
    print("up", flush=True)
    time.sleep(120)
"""
MARK = "RECT_SWEEPS_TEST_OF_INTERRUPTS"


def started_by(mark: str) -> dict[int, str]:
    """Processes that inherited the mark, whoever is their parent now: {id: command}."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())
        except psutil.Error:
            continue
    return found


def wait_for(mark: str, part: str, ray: subprocess.Popen[str]) -> None:
    """Until some process has a part in its command: Ray has come so far."""
    deadline = time.monotonic() + 120
    while not any(part in command for pid, command in started_by(mark).items() if pid != ray.pid):
        assert ray.poll() is None, "Ray did not start"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("so_far", ["gcs_server", "raylet/raylet", "dashboard/agent", "runtime_env"])
def test_nothing_is_left_of_a_ray_that_was_interrupted(so_far: str, number: signal.Signals) -> None:
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark}
    ray = subprocess.Popen(
        [sys.executable, "-c", START], env=environment, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        wait_for(mark, so_far, ray)
        if number == signal.SIGINT:
            os.killpg(ray.pid, number)  # as a terminal does
        else:
            ray.send_signal(number)
        assert ray.wait(60) != 0
        assert ray.stdout is not None
        assert ray.stdout.read() == "", "it was interrupted before Ray was up"
        time.sleep(0.5)
        assert started_by(mark) == {}
    finally:
        for pid in started_by(mark):
            os.kill(pid, signal.SIGKILL)
