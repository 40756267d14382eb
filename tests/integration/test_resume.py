"""A sweep that is killed with SIGKILL, wherever it is, goes on without computing anything twice and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from modelfolder.whole_files import TEMPORARY
from sweeps.config.config import Config
from sweeps.store import journal
from sweeps.store.store import Store
from tests.integration.chaos import slow_method
from tests.sweeps.small import REMEMBERING, computed, quiet, small_config, values
from tests.tiny import save_tiny

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0  # seconds for anything that is waited for
GONE = 20.0  # seconds in which everything must have followed a killed driver

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


def config_for(folder: Path, engine: str, method: str = "rome") -> Config:
    """Edits and generations long enough to be hit: many optimization steps, long answers."""
    return small_config(
        folder,
        methods=[slow_method(method, folder, steps=60)],
        regularizers=["none", {"name": "rect", "k": [20]}],
        tasks={"names": ["nli", "summarization"], "examples": 12},
        engine={"name": engine, "max_model_len": 256, "kv_cache_gib": 0.25},
    )


def write_config(path: Path, folder: Path, engine: str, method: str = "rome") -> Path:
    path.write_text(config_for(folder, engine, method).as_yaml())
    return path


class Driver:
    """`sweeps run` in a process of its own."""

    def __init__(self, config: Path, out: Path) -> None:
        self.out = out
        self.before = set(_logs(out))
        self.shared_memory = set(os.listdir("/dev/shm"))
        command = [sys.executable, "-m", "sweeps", "run", str(config), "--out", str(out)]
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        self.log = out.parent / f"{out.name}.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment)

    def finish(self) -> None:
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()

    def events(self) -> Iterator[dict[str, Any]]:
        """Of this run, as far as they are written."""
        for path in set(_logs(self.out)) - self.before:
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    yield json.loads(line)

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not any(wanted(event) for event in self.events()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def kill(self, everything: bool = True) -> None:
        """SIGKILL, the driver first; then nothing of it may be left: no process, no shared memory."""
        family = [psutil.Process(self.process.pid)]
        family += family[0].children(recursive=True)
        assert len(family) > 3, "Ray's processes were expected"
        for process in family if everything else family[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGKILL)
        self.process.wait()
        _, alive = psutil.wait_procs(family, timeout=GONE)
        left = [process.info for process in alive if _runs(process)]
        assert not left
        assert set(os.listdir("/dev/shm")) <= self.shared_memory


def _runs(process: psutil.Process) -> bool:
    try:
        process.info = f"{process.pid} {process.cmdline()}"
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _logs(out: Path) -> list[Path]:
    return list((out / "log").glob("*.jsonl"))


def stage(name: str, n_edits: int) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["event"] == "stage" and event["stage"] == name and event["n_edits"] == n_edits


def editing(n_edits: int) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["event"] == "edit-started" and event["n_edits"] == n_edits


@pytest.mark.parametrize("method", ["rome", *REMEMBERING])
def test_killed_while_editing_generating_and_writing(folder: Path, tmp_path: Path, method: str) -> None:
    """With a history too: what is remembered comes with the stored updates, and no key is computed anew."""
    config = write_config(tmp_path / "small.yaml", folder, "transformers", method)
    whole = quiet(config_for(folder, "transformers", method), tmp_path / "whole")

    out = tmp_path / "killed"
    for moment in (editing(2), stage("generating", 3), stage("writing", 3)):
        run = Driver(config, out)
        run.wait_for(moment)
        run.kill()
    last = Driver(config, out)
    last.finish()

    store = Store(out)
    assert len(computed(store)) == len(set(computed(store))) == 5
    assert set(computed(store)) == set(computed(whole))
    for operation in computed(whole):
        update, same = store.update(operation), whole.update(operation)
        assert update is not None
        assert same is not None
        assert update.to_bytes() == same.to_bytes()
    assert not _begun_again(store)
    pd.testing.assert_series_equal(values(store), values(whole), rtol=0, atol=1e-6)
    texts = [
        one.outputs().sort_values(["cell", "n_edits", "task", "index"])["output"].tolist() for one in (store, whole)
    ]
    assert texts[0] == texts[1]
    assert not list(out.rglob(f"{TEMPORARY}*"))
    assert (out / "tradeoff.csv").exists()

    again = Driver(config, out)
    again.finish()
    assert not list(again.events())  # nothing is missing: Ray is not even started


def _begun_again(store: Store) -> list[str]:
    """Operations that a process began to compute after their update was there."""
    done: set[str] = set()
    again = []
    for event in journal.events(store.folder):  # in the order of their time
        if event["event"] == "edit-computed":
            done.add(event["operation"])
        if event["event"] == "edit-started" and event["operation"] in done:
            again.append(event["operation"])
    return again


@pytest.mark.vllm
def test_the_engine_ends_with_a_killed_driver(folder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", folder, "vllm")
    run = Driver(config, tmp_path / "out")
    run.wait_for(stage("generating", 1))
    names = [" ".join(process.cmdline()) for process in psutil.Process(run.process.pid).children(recursive=True)]
    assert any("vllm_child" in name for name in names)
    run.kill(everything=False)

    again = Driver(config, tmp_path / "out")
    again.finish()
    store = Store(tmp_path / "out")
    assert len(computed(store)) == len(set(computed(store))) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_cleanly(folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = Driver(write_config(tmp_path / "small.yaml", folder, "transformers"), tmp_path / "out")
    run.wait_for(lambda event: event["event"] == "rows-written")
    family = psutil.Process(run.process.pid).children(recursive=True)
    run.process.send_signal(number)
    assert run.process.wait(60) == 130
    assert "interrupted" in run.log.read_text()
    assert "Traceback" not in run.log.read_text()
    _, alive = psutil.wait_procs(family, timeout=GONE)
    assert not [process for process in alive if _runs(process)]
    assert Store(tmp_path / "out").done()
