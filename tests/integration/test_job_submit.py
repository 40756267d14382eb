"""`ray job submit` to a head on this machine, with token authentication: the sweep runs, and a second time at once."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.store import journal
from sweeps.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")
STARTING = 120.0  # seconds in which the head must answer
PATIENCE = 800.0  # for a job

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.vllm]


@dataclass(frozen=True)
class Head:
    """Where jobs are submitted, and the environment that a client needs."""

    address: str
    environment: dict[str, str]


@pytest.fixture
def head() -> Iterator[Head]:
    """A head of its own, on free ports, with a token of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }
    port, dashboard, client = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: sockets lie in it
        command = [RAY, "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}",
                   f"--ray-client-server-port={client}", "--dashboard-agent-listen-port=0",
                   "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}"]  # fmt: skip
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield Head(f"http://127.0.0.1:{dashboard}", environment)
        finally:
            process.terminate()
            process.wait(60)


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody has, taken at the same time so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def submit(head: Head, out: Path) -> subprocess.CompletedProcess[str]:
    """Submit and follow, as docs/cluster.md says; while the head is starting it is asked again."""
    command = [RAY, "job", "submit", "--address", head.address, "--working-dir", ".", "--", sys.executable, "-m",
               "sweeps", "run", "configs/smoke.yaml", "--out", str(out)]  # fmt: skip
    deadline = time.monotonic() + STARTING
    while True:
        found = subprocess.run(
            command, cwd=ROOT, env=head.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        if "Failed to connect" not in found.stdout + found.stderr or time.monotonic() > deadline:
            return found
        time.sleep(1)


def test_a_submitted_job_runs_and_a_second_one_has_nothing_to_do(head: Head, tmp_path: Path) -> None:
    stranger = Head(head.address, {**head.environment, "RAY_AUTH_TOKEN": secrets.token_hex(16)})
    refused = submit(stranger, tmp_path / "other")
    assert refused.returncode != 0
    assert "token" in refused.stdout + refused.stderr

    first = submit(head, tmp_path / "out")
    assert first.returncode == 0, first.stdout + first.stderr
    store = Store(tmp_path / "out")
    rows = store.rows()
    assert set(rows["k"].dropna()) == {40.0}
    assert set(rows["kind"]) >= {"edit", "task", "ability", "weights"}
    events = journal.events(store.folder)

    again = submit(head, tmp_path / "out")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "3 cells done" in again.stdout
    assert journal.events(store.folder) == events  # nothing was missing: Ray was not asked
