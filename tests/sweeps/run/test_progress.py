"""Progress, read from a sweep's folder."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from sweeps.plan.identity import Plan, make_plan
from sweeps.run import progress
from sweeps.run.progress import Tracker
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.sweeps.small import small_config


@pytest.fixture
def plan() -> Plan:
    return make_plan(small_config(Path("/nowhere/tiny")))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def shown(snapshot: progress.Snapshot) -> str:
    text = io.StringIO()
    Console(file=text, width=160).print(progress.render(snapshot))
    return text.getvalue()


def test_a_cell_is_followed_from_start_to_end(plan: Plan, store: Store) -> None:
    tracker, log, cell = Tracker(plan, store), Journal(store.folder), plan.cells[2]
    assert tracker.snapshot().running == ()
    log.write("run-started", cells=5)
    log.write("cell-started", cell=cell.id)
    log.write("edit-started", cell=cell.id, operation="o", n_edits=2)
    now = tracker.snapshot()
    assert [(one.cell, one.stage, one.n_edits) for one in now.running] == [(cell, "editing", 2)]
    assert f"{cell}" in shown(now)
    assert "editing" in shown(now)
    assert "2 of 3 edits" in shown(now)
    assert now.seconds_left is None

    wanted = sorted(plan.wanted(cell))
    log.write("rows-written", cell=cell.id, n_edits=1, evaluations=wanted, rows=1)
    log.write("stage", cell=cell.id, n_edits=3, stage="generating")
    now = tracker.snapshot()
    assert (now.checkpoints_done, now.checkpoints, now.done) == (1, 9, 0)
    assert now.running[0].stage == "generating"
    assert now.seconds_left is not None

    log.write("rows-written", cell=cell.id, n_edits=3, evaluations=wanted, rows=1)
    log.write("cell-done", cell=cell.id)
    now = tracker.snapshot()
    assert (now.done, now.running, now.checkpoints_done) == (1, (), 2)
    assert "1 of 5 cells done, 0 running, 0 failed" in shown(now)


def test_a_failed_cell_is_shown_with_its_reason_until_it_is_tried_again(plan: Plan, store: Store) -> None:
    log, cell = Journal(store.folder), plan.cells[3]
    store.fail(cell.id, "UpdateError: NaN [in a matrix]")
    now = Tracker(plan, store).snapshot()
    assert now.failed == ((cell, "UpdateError: NaN [in a matrix]"),)
    assert "UpdateError: NaN [in a matrix]" in shown(now)
    log.write("cell-started", cell=cell.id)
    assert Tracker(plan, store).snapshot().failed == ()


def test_a_killed_process_runs_nothing(plan: Plan, store: Store) -> None:
    code = f"""if True:
        import os
        from sweeps.store.folder import Folder
        from sweeps.store.journal import Journal
        Journal(Folder({store.url!r})).write("cell-started", cell={plan.cells[1].id!r})
        os.kill(os.getpid(), 9)"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[3], check=False)
    assert len(list((Path(store.url) / "log").iterdir())) == 1
    assert Tracker(plan, store).snapshot().running == ()


def test_time_left_is_that_of_the_checkpoints_to_come(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    log = Journal(store.folder)
    monkeypatch.setattr(time, "time", lambda: now)
    log.write("run-started", cells=5)
    for cell in plan.cells[:2]:
        log.write("cell-started", cell=cell.id)
        for n_edits in cell.checkpoints:
            log.write("rows-written", cell=cell.id, n_edits=n_edits, evaluations=sorted(plan.wanted(cell)), rows=1)
    log.write("cell-started", cell=plan.cells[2].id)
    monkeypatch.setattr(time, "time", lambda: now + 30)
    assert Tracker(plan, store).snapshot().seconds_left == pytest.approx(30 / 3 * 6, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (600, "10 min"), (5340, "89 min"), (12_000, "3 h 20 min"), (7199, "2 h 00 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_a_run_without_a_terminal_says_a_line_per_checkpoint(plan: Plan, store: Store) -> None:
    text = io.StringIO()
    cell = plan.cells[0]
    with progress.Live(plan, store, Console(file=text, width=120)):
        Journal(store.folder).write(
            "rows-written", cell=cell.id, n_edits=0, evaluations=sorted(plan.wanted(cell)), rows=1
        )
        deadline = time.monotonic() + 30
        while "1 of 5 cells done" not in text.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "1 of 5 cells done" in text.getvalue()
    assert all(line.startswith("small: ") for line in text.getvalue().splitlines())
    assert len(text.getvalue().splitlines()) <= 3


def test_nothing_is_shown_without_a_console(plan: Plan, store: Store) -> None:
    with progress.Live(plan, store, None):
        pass
    assert os.listdir(store.url) == []
