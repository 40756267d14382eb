"""A real cluster of three nodes on which trials, a node and the driver are killed; what is left is compared."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from ray.cluster_utils import Cluster

from sweeps.config.config import Config
from sweeps.store import journal
from sweeps.store.store import Store
from tests.sweeps.small import STEPS, computed, quiet, remembering, small_config, values

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 400.0  # seconds for anything that is waited for
GONE = 60.0  # seconds in which everything must have ended with its driver


def config_for(folder: Path, engine: str = "transformers", trials: int = 2, method: str = "rome") -> Config:
    """Edits long enough to be hit. A cell may die more often than a real one should."""
    return small_config(
        folder,
        methods=[slow_method(method, folder, steps=40)],
        regularizers=["none", {"name": "rect", "k": 20}],
        engine={"name": engine, "max_model_len": 256, "kv_cache_gib": 0.25},
        resources={"cpus": 1, "concurrency": trials, "max_failures": 20},
    )


def slow_method(name: str, folder: Path, steps: int) -> dict[str, Any]:
    """ROME or a method that remembers, with many steps."""
    if name != "rome":
        return remembering(name, folder, v_num_grad_steps=steps)
    return {"name": name, "hparams": STEPS | {"v_num_grad_steps": steps}}


@contextlib.contextmanager
def three_nodes() -> Iterator[Cluster]:
    """A head that runs no trial, and two nodes that do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # a busy machine would starve them
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": {"health_check_period_ms": 1000}}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()


class Killer:
    """Kills processes of trials at random, until it is told to stop.

    Args:
        store: whose journals tell which processes there are.
        kills: at most.
    """

    def __init__(self, store: Store, kills: int, seed: int = 0) -> None:
        self.store = store
        self.seen: set[int] = set()
        self.killed: list[int] = []
        self._kills = kills
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        while len(self.killed) < self._kills and not self._stop.wait(self._random.uniform(0.2, 1.5)):
            alive = [pid for pid in self.trials() if psutil.pid_exists(pid) and pid not in self.killed]
            if alive:
                pid = self._random.choice(alive)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)

    def trials(self) -> set[int]:
        """Processes that began a cell; their children so far are noted too."""
        begun = {event["pid"] for event in journal.events(self.store.folder) if event["event"] == "cell-started"}
        for pid in begun:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.seen |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
        self.seen |= begun
        return begun

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()


class Drivers:
    """`sweeps run` on a cluster, in processes of their own."""

    def __init__(self, config: Config, cluster: Cluster, tmp_path: Path) -> None:
        self.config, self.log, self.address = tmp_path / "small.yaml", tmp_path / "log", cluster.address
        self.config.write_text(config.as_yaml())

    def start(self, store: Store) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sweeps", "run", str(self.config), "--out", store.url]
        with self.log.open("a") as file:
            return subprocess.Popen([*command, "--address", self.address], cwd=ROOT, stdout=file, stderr=file)

    def finish(self, store: Store) -> None:
        driver = self.start(store)
        assert driver.wait(PATIENCE) == 0, self.log.read_text()

    def wait_for_rows(self, store: Store, number: int, driver: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(store.folder.names("rows", ".parquet")) < number:
            assert driver.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)


def busy_node(cluster: Cluster, killer: Killer) -> Any:
    """A node with a trial at work, as soon as there is one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        parents = {psutil.Process(pid).ppid() for pid in killer.trials() if _runs(pid)}
        for node in cluster.worker_nodes:
            if node.all_processes["raylet"][0].process.pid in parents:
                return node
        assert time.monotonic() < deadline
        time.sleep(0.1)


def disturb(config: Config, store: Store, tmp_path: Path, kills: int) -> None:
    """Run into the store while all is killed that can be, and once more to the end; compare with an undisturbed run.

    That one is a run without Ray through transformers: both engines say the same in float32.
    """
    method = config.methods[0].name
    whole = quiet(config_for(Path(config.models[0].name), method=method), tmp_path / "quiet")
    with three_nodes() as cluster:
        drivers = Drivers(config, cluster, tmp_path)
        driver = drivers.start(store)
        with Killer(store, kills) as killer:
            drivers.wait_for_rows(store, 1, driver)
            cluster.remove_node(busy_node(cluster, killer), allow_graceful=False)
            drivers.wait_for_rows(store, 2, driver)
        assert killer.killed
        killer.trials()
        driver.kill()
        driver.wait()

        drivers.finish(store)
        killer.trials()
        nothing_is_left_of(killer.seen)
    assert len(computed(store)) == len(set(computed(store)))
    pd.testing.assert_series_equal(_by_name(store), _by_name(whole), rtol=0, atol=1e-6)
    assert store.failures() == {}


def _by_name(store: Store) -> pd.Series:
    """What was measured, without the ids of evaluations: those of two engines differ."""
    return values(store).droplevel("evaluation").sort_index()


def nothing_is_left_of(processes: set[int]) -> None:
    """Wait until they have ended."""
    deadline = time.monotonic() + GONE
    while alive := {pid for pid in processes if _runs(pid)}:
        assert time.monotonic() < deadline, alive
        time.sleep(0.2)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
