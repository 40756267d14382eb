"""What `sweeps run`, `plan` and `status` pass on and how they leave; a real sweep runs in tests/integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.commands import app
from sweeps.config.config import load
from sweeps.plan.identity import make_plan
from sweeps.run.driver import Outcome
from sweeps.store.store import Store

SWEEP = {
    "name": "small",
    "models": ["smollm2-135m"],
    "methods": ["rome"],
    "settings": [{"kind": "instance-sequential", "edits": 2, "checkpoints": [1, 2]}],
    "regularizers": [{"name": "none", "k": 40}, {"name": "rect", "k": [20, 40]}],
    "tasks": {"names": ["nli"], "examples": 2},
    "engine": {"name": "transformers"},
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(SWEEP))
    return path


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as leaving:
        app.main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


class Driver:
    """Stands for `sweeps.run.driver.run`: notes what it is called with, commits the folder, and says how it went."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.failed: list[str] = []
        self.remaining = 0

    def __call__(self, config: Any, out: str, *arguments: Any) -> Outcome:
        self.calls.append((config, out, *arguments))
        plan, store = make_plan(config), Store(out)
        store.folder.write("config.yaml", config.as_yaml().encode())
        failed = [(cell, reason) for cell, reason in zip(plan.cells[1:], self.failed, strict=False)]
        for cell, reason in failed:
            store.fail(cell.id, reason, str(cell))
        return Outcome(len(plan.cells) - len(failed), failed, self.remaining)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    stand_in = Driver()
    monkeypatch.setattr("sweeps.run.driver.run", stand_in)
    return stand_in


def test_run_reports_and_leaves_with_0(config: Path, driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", config) == 0
    loaded, out, address, limit, retry, _ = driver.calls[0]
    assert loaded == load(config)
    assert (out, address, limit, retry) == ("results/small", None, None, False)
    assert Path("results/small/report.html").exists()
    assert Path("results/small/tradeoff.csv").exists()
    assert "4 cells done" in capsys.readouterr().out


def test_options_reach_the_driver(config: Path, driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    driver.remaining = 2
    options = ("--out", "here", "--set", "tasks.examples=1", "--set", "seed=3", "--address", "auto")
    assert call("run", config, *options, "--limit-cells", 2, "--retry-failed") == 0
    loaded, *given, _ = driver.calls[0]
    assert (loaded.tasks.examples, loaded.seeds) == (1, (3,))
    assert given == ["here", "auto", 2, True]
    assert "2 cells remain" in capsys.readouterr().out


def test_no_text_is_a_key_of_the_configuration(config: Path, driver: Driver) -> None:
    assert call("run", config, "--no-text") == 0
    assert driver.calls[0][0].tasks.keep_texts is False
    assert "keep_texts: false" in Path("results/small/config.yaml").read_text()


def test_ray_address_of_the_environment(config: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert call("run", config) == 0
    assert driver.calls[0][2] == "10.0.0.1:6379"


def test_failed_cells_are_named_and_leave_1(config: Path, driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    driver.failed = ["OutOfMemoryError: too large"]
    assert call("run", config) == 1
    told = capsys.readouterr()
    assert "failed smollm2-135m rome instance-sequential none seed=0: OutOfMemoryError: too large" in " ".join(
        told.out.split()
    )
    assert told.err.startswith("error: 1 cell failed")
    assert Path("results/small/report.html").exists()


def test_plan_counts_cells_and_says_what_was_dropped(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(load(config))
    base = plan.cells[0]
    where = {"cell": base.id, "n_edits": 0, **base.axes(), "engine": "transformers", "package_version": "0"}
    rows = [
        {**where, "kind": "task", "name": "x", "value": 1.0, "stderr": 0.0, "n": 1, "evaluation": evaluation}
        for evaluation in plan.wanted(base)
    ]
    Store("out").write(base.id, 0, rows, [])
    assert call("plan", config, "--out", "out") == 0
    shown = capsys.readouterr().out
    for part in (
        "4 cells, 1 done in out; 6 checkpoints to do",
        "regularizer: none (2), rect (2)",
        "k: - (2), 20 (1), 40 (1)",
        "tasks: nli (2)",
        "  done  smollm2-135m unedited",
        " to do  smollm2-135m rome instance-sequential rect 20% seed=0",
        "dropped regularizer none with k = 40: none keeps everything",
    ):
        assert part in shown


def test_status(config: Path, driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    driver.failed = ["OutOfMemoryError: too large"]
    call("run", config)
    capsys.readouterr()
    assert call("status", "results/small") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "0 of 4 cells done, 0 running, 1 failed" in shown
    assert "OutOfMemoryError" in shown
