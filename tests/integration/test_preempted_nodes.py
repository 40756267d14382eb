"""Nodes that are taken away amid a trial's first edit, as a cloud takes back spot machines: no failure is counted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from sweeps.store import journal
from sweeps.store.store import Store
from tests.integration.chaos import PATIENCE, Drivers, slow_method
from tests.sweeps.small import computed, small_config
from tests.tiny import save_tiny

pytestmark = pytest.mark.slow

LOSSES = 3


def preempt(cluster: Cluster, node: Any) -> None:
    """Tell Ray that the node goes at once, as an autoscaler does, and take it away."""
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline = time.time_ns() // 1_000_000 + 200
    accepted, why = GcsClient(address=cluster.address).drain_node(node.node_id, reason, "spot", deadline)
    assert accepted, why
    time.sleep(0.3)
    cluster.remove_node(node, allow_graceful=False)


def test_more_nodes_are_preempted_than_failures_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lost attempt got further than the one before: what Ray knows of the node is all that saves the cell."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
    folder = save_tiny("llama", tmp_path / "model")
    config = small_config(
        folder,
        methods=[slow_method("rome", folder, steps=1500)],
        settings=[{"kind": "instance-sequential", "edits": 1, "checkpoints": [1]}],
        regularizers=["none"],
        tasks={"names": ["nli"], "examples": 1},
        resources={"cpus": 1, "concurrency": 1},
    )
    assert config.resources.max_failures < LOSSES
    store = Store(tmp_path / "out")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):  # one of them takes the trial, the other waits
            cluster.add_node(num_cpus=1)
        drivers = Drivers(config, cluster, tmp_path)
        driver = drivers.start(store)
        began: set[int] = set()
        for _ in range(LOSSES):
            began.add(at_work := _another_edit(store, began, drivers, driver))
            preempt(cluster, _node_of(at_work, cluster))
            cluster.add_node(num_cpus=1)
        assert driver.wait(PATIENCE) == 0, drivers.log.read_text()
    finally:
        cluster.shutdown()
    assert store.failures() == {}
    assert len(computed(store)) == 1
    (last,) = [event["pid"] for event in journal.events(store.folder) if event["event"] == "edit-computed"]
    assert last not in began


def _node_of(pid: int, cluster: Cluster) -> Any:
    """The node that a trial's process is on."""
    raylet = psutil.Process(pid).ppid()
    return next(node for node in cluster.worker_nodes if node.all_processes["raylet"][0].process.pid == raylet)


def _another_edit(store: Store, before: set[int], drivers: Drivers, driver: Any) -> int:
    """The process that begins an edit after those before, as soon as there is one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        for event in journal.events(store.folder):
            if event["event"] == "edit-started" and event["pid"] not in before:
                return int(event["pid"])
        assert driver.poll() is None, drivers.log.read_text()
        assert time.monotonic() < deadline, drivers.log.read_text()
        time.sleep(0.05)
