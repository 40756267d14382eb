"""The driver on a real Ray: what is run, what is left alone, what happens to a cell or a process that fails."""

from __future__ import annotations

import io
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray
import torch
import yaml
from rich.console import Console

from modelfolder.errors import InputError
from rect.update import Dense, Update
from sweeps.config.config import Config
from sweeps.plan.identity import make_plan
from sweeps.report import gather
from sweeps.run import driver, experiment, progress
from sweeps.store import journal
from sweeps.store.store import Store
from tests.sweeps.small import computed, small_config, values
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def config(folder: Path) -> Config:
    return small_config(folder)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def whole(config: Config, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """An undisturbed run on two workers, and what it showed."""
    shown = io.StringIO()
    store = Store(tmp_path_factory.mktemp("whole"))
    outcome = driver.run(config, store.url, console=Console(file=shown, width=120))
    assert outcome == driver.Outcome(done=5, failed=[], remaining=0)
    return store, shown.getvalue()


def test_a_run_leaves_what_it_promises(whole: tuple[Store, str], config: Config) -> None:
    store, shown = whole
    plan = make_plan(config)
    assert all(not plan.missing(cell, store.done()) for cell in plan.cells)
    out = Path(store.url)
    assert yaml.safe_load((out / "config.yaml").read_text()) == config.model_dump(mode="json")
    [(name, environment)] = Store(out).environments().items()
    assert set(Store(out).rows()["environment"]) == {name}
    assert environment["packages"]["torch"] == torch.__version__
    assert len(computed(store)) == len(set(computed(store)))  # two workers, and the first operation is everybody's
    assert "5 of 5 cells done" in shown


def test_actors_keep_their_model_and_engine(whole: tuple[Store, str]) -> None:
    events = list(journal.events(whole[0].folder))
    workers = {event["process"] for event in events if event["event"] == "cell-started"}
    starts = [event for event in events if event["event"] == "engine-started"]
    assert len(starts) == len(workers) <= 2


def test_when_nothing_is_missing_ray_is_not_asked(
    whole: tuple[Store, str], config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(experiment, "fit")
    outcome = driver.run(config, whole[0].url)
    assert (outcome.done, outcome.failed) == (5, [])


@pytest.mark.slow
def test_a_model_that_was_replaced_is_run_anew_and_said(
    folder: Path, local_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = Path(shutil.copytree(folder, tmp_path / "model"))
    small = small_config(here, regularizers=["none"], tasks={"names": ["nli"], "examples": 3})
    out = tmp_path / "out"
    assert driver.run(small, out).done == 2
    before = gather.gather(out).rows
    save_tiny("llama", here, seed=1)
    assert set(gather.gather(out).rows["cell"]) == set(before["cell"])  # a report reads what was run
    caplog.clear()
    assert driver.run(small, out).done == 2
    assert "is another model than when this folder was last written" in caplog.text
    after = gather.gather(out)
    assert not set(after.rows["cell"]) & set(before["cell"])
    assert after.left_out == 2
    assert len(Store(out).environments()) == 2
    assert len(set(after.rows["environment"])) == len(after.environments) == 1
    shutil.rmtree(here)
    assert set(gather.gather(out).rows["cell"]) == set(after.rows["cell"])  # where the model is not


@pytest.mark.slow
def test_limited_run_says_what_remains(config: Config, local_ray: None, tmp_path: Path) -> None:
    outcome = driver.run(config, tmp_path, limit_cells=1)
    assert (outcome.done, outcome.failed, outcome.remaining) == (1, [], 4)
    rows = Store(tmp_path).rows()
    assert set(rows["setting"]) == {"unedited"}


@pytest.mark.slow
def test_a_bad_cell_is_named_and_the_others_go_on(config: Config, local_ray: None, tmp_path: Path) -> None:
    store, plan = Store(tmp_path), make_plan(config)
    bad = next(cell for cell in plan.cells if cell.k == 20)
    poisoned = f"updates/{list(plan.operations(bad, 2))[1].id}.safetensors"
    nan = Update({"model.layers.0.mlp.down_proj.weight": Dense(torch.full((64, 160), float("nan")))})
    store.folder.write(poisoned, nan.to_bytes())

    outcome = driver.run(config, tmp_path)
    assert outcome.done == 4
    assert [(cell.k, reason) for cell, reason in outcome.failed] == [
        (20.0, "UpdateError: the update of model.layers.0.mlp.down_proj.weight holds NaN or infinity")
    ]
    assert {(n, cell) for cell, n, _ in store.done() if cell == bad.id} == {(1, bad.id)}  # its first checkpoint is kept

    again = driver.run(config, tmp_path)
    assert (again.done, again.remaining) == (4, 0)
    assert again.failed == outcome.failed  # left alone until asked for

    store.folder.remove(poisoned)
    retried = driver.run(config, tmp_path, retry_failed=True)
    assert (retried.done, retried.failed) == (5, [])
    assert store.failures() == {}


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_nothing_is_computed_twice(
    config: Config, whole: tuple[Store, str], tmp_path: Path
) -> None:
    store = Store(tmp_path)
    stop = threading.Event()

    def kill_once() -> None:
        """Kill the first worker that has computed two updates."""
        while not stop.wait(0.02):
            done = [event for event in journal.events(store.folder) if event["event"] == "edit-computed"]
            if len(done) >= 2:
                os.kill(done[-1]["pid"], signal.SIGKILL)
                return

    killer = threading.Thread(target=kill_once)
    one_worker = config.model_copy(
        update={"resources": config.resources.model_copy(update={"concurrency": 1, "cpus": 1.0})}
    )
    killer.start()
    try:
        outcome = driver.run(one_worker, tmp_path)
    finally:
        stop.set()
        killer.join()
    assert (outcome.done, outcome.failed) == (5, [])
    assert len({event["pid"] for event in journal.events(store.folder) if event["event"] == "cell-started"}) == 2
    assert len(computed(store)) == len(set(computed(store))) == 9
    pd.testing.assert_series_equal(values(store), values(whole[0]), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_what_a_second_attempt_would_meet_again_is_not_tried_again(
    folder: Path, local_ray: None, tmp_path: Path
) -> None:
    beyond = {"name": "rome", "hparams": {"layers": [99], "mom2_adjustment": False}}  # only the model tells
    outcome = driver.run(small_config(folder, methods=[beyond], regularizers=["none"]), tmp_path)
    assert outcome.done == 1
    [(cell, reason)] = outcome.failed
    assert "InputError: layer 99 is not there" in reason
    starts = [event["cell"] for event in journal.events(Store(tmp_path).folder) if event["event"] == "cell-started"]
    assert starts.count(cell.id) == 1


@pytest.mark.slow
def test_a_cell_whose_worker_dies_every_time_is_named(config: Config, local_ray: None, tmp_path: Path) -> None:
    killed: set[int] = set()
    stop = threading.Event()

    def kill_all() -> None:
        while not stop.wait(0.02):
            for event in journal.events(Store(tmp_path).folder):
                if event["event"] == "edit-started" and event["pid"] not in killed:
                    os.kill(event["pid"], signal.SIGKILL)
                    killed.add(event["pid"])

    hparams = {**config.methods[0].hparams, "v_num_grad_steps": 1000}  # type: ignore[dict-item]  # time to be hit
    slow = config.model_copy(update={"methods": (config.methods[0].model_copy(update={"hparams": hparams}),)})
    driver.run(slow, tmp_path, limit_cells=1)  # the unedited model
    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        outcome = driver.run(slow, tmp_path, limit_cells=1)
    finally:
        stop.set()
        killer.join()
    assert [reason for _, reason in outcome.failed] == ["the worker process died (killed, or out of memory)"]
    assert len(killed) == 1 + config.resources.max_failures


@pytest.mark.slow
def test_attempts_that_got_further_do_not_count(
    whole: tuple[Store, str], config: Config, local_ray: None, tmp_path: Path
) -> None:
    """Five kills, each after one more edit, where two failures are allowed: nothing is lost, nothing computed twice."""
    config = config.model_copy(
        update={"resources": config.resources.model_copy(update={"concurrency": 1, "max_failures": 2})}
    )
    store, killed, stop = Store(tmp_path), set[int](), threading.Event()

    def kill() -> None:
        while len(killed) < 5 and not stop.wait(0.02):
            for event in journal.events(store.folder):
                if event["event"] == "edit-computed" and event["pid"] not in killed and len(killed) < 5:
                    killed.add(event["pid"])
                    os.kill(event["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outcome = driver.run(config, tmp_path)
    finally:
        stop.set()
        killer.join()
    assert len(killed) == 5
    assert (outcome.done, outcome.failed) == (5, [])
    assert len(computed(store)) == len(set(computed(store))) == 9
    pd.testing.assert_series_equal(values(store), values(whole[0]), rtol=0, atol=1e-6)


def test_a_model_that_is_not_there_is_bad_input(config: Config, tmp_path: Path) -> None:
    absent = config.model_copy(update={"models": (config.models[0].model_copy(update={"name": "no/such/model"}),)})
    with pytest.raises(InputError, match="no/such/model"):
        driver.run(absent, tmp_path)
    assert not (tmp_path / "config.yaml").exists()


def test_status_reads_the_folder_alone(whole: tuple[Store, str]) -> None:
    snapshot = progress.status(whole[0].url)
    assert (snapshot.cells, snapshot.done, snapshot.running, snapshot.failed) == (5, 5, (), ())
    assert snapshot.checkpoints_done == snapshot.checkpoints == 9


def test_status_of_a_folder_without_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no sweep here"):
        progress.status(tmp_path)


def test_a_stranger_that_shadows_a_package_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks

    monkeypatch.setattr(tasks, "__file__", str(tmp_path / "tasks" / "__init__.py"))
    with pytest.raises(InputError, match="stranger"):
        driver.check_modules()
