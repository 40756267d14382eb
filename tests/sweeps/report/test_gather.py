"""`sweeps report` on a folder as a run leaves it: table, tradeoff.csv, report.html, what failed and what is missing."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from modelfolder.errors import InputError
from sweeps.config import config
from sweeps.plan.grid import Cell
from sweeps.plan.identity import Plan, make_plan
from sweeps.report import gather
from sweeps.store.schema import complete, measurement
from sweeps.store.store import Store

DATA = {
    "name": "small",
    "models": ["smollm2-135m"],
    "methods": ["rome"],
    "settings": [{"kind": "instance-sequential", "edits": 2, "checkpoints": [1, 2]}],
    "regularizers": ["none", {"name": "rect", "k": [20, 40]}],
    "tasks": {"names": ["nli", "ner"], "examples": 2},
    "engine": {"name": "transformers"},
}
RELIABILITY = {"none": 1.0, "rect": 0.9}


def made(changes: dict | None = None) -> Plan:
    return make_plan(config.validate(DATA | (changes or {}), "sweep.yaml"))


def commit(
    plan: Plan, store: Store, cell: Cell, n_edits: int, leave_out: tuple[str, ...] = (), run: str | None = None
) -> None:
    """What a trial writes at a checkpoint, with made-up numbers; `run` is the id of its environment."""
    rows, outputs = [], []
    for evaluation, name in plan.wanted(cell).items():
        if name in leave_out:
            continue
        if name == "edit":
            score = RELIABILITY[cell.regularizer]
            rows += [
                measurement("edit", f"reliability/token_accuracy/fact-{i}", score, n=1, evaluation=evaluation)
                for i in range(n_edits)
            ]
            for metric in ("reliability", "generalization", "locality"):
                for form in ("token_accuracy", "preference"):
                    rows.append(measurement("edit", f"{metric}/{form}", score, 0.1, 2, evaluation))
        elif name in ("nli", "ner"):
            score = 0.9 if cell.method is None else 0.6
            rows += [measurement("task", f"{name}/{m}", score, 0.05, 2, evaluation) for m in ("score", "score_release")]
            rows.append(measurement("task", f"{name}/chance", 0.5 * (name == "nli"), n=2, evaluation=evaluation))
            outputs.append(
                {
                    "task": name,
                    "index": 0,
                    "prompt": "p",
                    "output": "[red]o",
                    "gold": '"g"',
                    "score": 1.0,
                    "evaluation": evaluation,
                }
            )
        else:
            rows.append(measurement(name, "perplexity", 30.0, evaluation=evaluation))
    rows.append(measurement("time", "editing_seconds", 1.0))
    here = {"cell": cell.id, "n_edits": n_edits}
    run = next(iter(store.environments()), "") if run is None else run
    shared = {"engine": plan.engine, "package_version": "0", "environment": run}
    store.write(cell.id, n_edits, complete(rows, {**here, **cell.axes(), **shared}), complete(outputs, here))


def sweep(url: str, plan: Plan) -> Store:
    store = Store(url)
    store.folder.write("config.yaml", plan.config.as_yaml().encode())
    environment = {"command": ["sweeps", "run", "configs/small sweep.yaml"], "packages": {"torch": "2"}}
    store.put_environment(environment)
    return store


def finish(plan: Plan, store: Store) -> None:
    for cell in plan.cells:
        for n_edits in cell.checkpoints:
            commit(plan, store, cell, n_edits)


def printed(url: str, width: int = 200, everything: bool = False) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    gather.report(url, console, everything)
    return console.export_text()


def test_a_finished_sweep(tmp_path: Path) -> None:
    plan = made()
    finish(plan, sweep(str(tmp_path), plan))
    text = printed(str(tmp_path))
    table = pd.read_csv(tmp_path / "tradeoff.csv")
    assert list(table["cell"]) == [cell.id for cell in plan.cells]
    assert list(table["regularizer"]) == ["none", "none", "rect", "rect"]
    assert list(table["edit_retention"][1:]) == pytest.approx([1.0, 0.9, 0.9])
    assert math.isnan(table["edit_retention"][0])
    assert list(table["task_retention"][1:]) == pytest.approx([0.6 / 0.9] * 3)
    for part in ("unedited", "rect 40", "smollm2-135m, rome, instance-sequential", "90%", "67%"):
        assert part in text
    assert "failed" not in text
    page = (tmp_path / "report.html").read_text()
    assert "<h1>small</h1>" in page
    assert "4 of 4" in page
    first, second = plan.edited(plan.cells[1], 2)
    assert json.dumps(f"{first.filled}: {first.target}") in page
    assert json.dumps(f"{second.filled}: {second.target}") in page
    assert "sweeps run &#39;configs/small sweep.yaml&#39;" in page
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "config.yaml",
        "report.html",
        "store.json",
        "tradeoff.csv",
    ]


def test_the_runs_that_measured_stand_in_their_order(tmp_path: Path) -> None:
    plan, store = made(), Store(str(tmp_path))
    store.folder.write("config.yaml", plan.config.as_yaml().encode())
    times = ("2026-03-04T05", "2026-03-01T09", "2026-02-28T10", "2026-03-02T00", "2026-03-03T00")
    runs = {
        time: store.put_environment({"time": time, "host": f"host-{i}", "command": ["sweeps", "run", f"{i}.yaml"]})
        for i, time in enumerate(times)
    }
    earliest_first = [runs[time] for time in sorted(times)]
    assert sorted(earliest_first) not in (earliest_first, earliest_first[::-1])  # as files they lie otherwise
    unused = runs["2026-03-03T00"]
    for cell, run in zip(plan.cells, [run for run in runs.values() if run != unused], strict=True):
        for n_edits in cell.checkpoints:
            commit(plan, store, cell, n_edits, run=run)
    printed(str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    told = re.findall(r"<summary>Environment of run (\d)</summary>.*?<dt>host</dt><dd>host-(\d)</dd>", page)
    assert told == [("1", "2"), ("2", "1"), ("3", "3"), ("4", "0")]
    assert "<pre>sweeps run 0.yaml</pre>" in page  # the last one's


def test_failed_and_missing_are_named(tmp_path: Path) -> None:
    plan = made()
    store = sweep(str(tmp_path), plan)
    base, none, rect20, rect40 = plan.cells
    commit(plan, store, base, 0)
    commit(plan, store, none, 1)
    commit(plan, store, none, 2, leave_out=("ner",))
    store.fail(rect20.id, "OutOfMemoryError: 3 GiB\nlong story", str(rect20))
    text = printed(str(tmp_path))
    assert f"failed {rect20}: OutOfMemoryError: 3 GiB\n" in text
    assert f"not finished {none}: missing: ner at 2 edits" in text
    assert f"not finished {rect40}: no result" in text
    table = pd.read_csv(tmp_path / "tradeoff.csv").set_index("regularizer")
    assert len(table) == 2
    assert math.isnan(table[table["setting"] != "unedited"]["task_score"].iloc[0])
    assert "ner was not scored at 2 edits" in text
    page = (tmp_path / "report.html").read_text()
    assert "OutOfMemoryError: 3 GiB" in page
    assert "1 failed" in page
    assert "2 not finished" in page


def test_only_what_the_present_configuration_asks_for(tmp_path: Path) -> None:
    wide, narrow = (
        made(),
        made({"regularizers": ["none", {"name": "rect", "k": [40]}], "tasks": {"names": ["nli"], "examples": 2}}),
    )
    finish(wide, sweep(str(tmp_path), wide))
    sweep(str(tmp_path), narrow)
    text = printed(str(tmp_path))
    table = pd.read_csv(tmp_path / "tradeoff.csv")
    assert list(table["k"][1:].fillna(0)) == [0, 40]
    assert "ner_score" not in table
    assert list(table["task_score"]) == pytest.approx([0.9, 0.6, 0.6])
    assert "1 cell of another configuration or an earlier version left out" in text
    assert "1 of another configuration" in (tmp_path / "report.html").read_text()
    assert "left out" not in printed(str(tmp_path), everything=True)
    table = pd.read_csv(tmp_path / "tradeoff.csv")
    assert list(table["k"][1:].fillna(0)) == [0, 20, 40]
    assert "ner_score" in table


def test_other_examples_are_another_evaluation(tmp_path: Path) -> None:
    """Scores over 2 and over 3 examples are not mixed: what has not been run with the present number is missing."""
    few, more = made(), made({"tasks": {"names": ["nli", "ner"], "examples": 3}})
    finish(few, sweep(str(tmp_path), few))
    sweep(str(tmp_path), more)
    text = printed(str(tmp_path))
    assert pd.read_csv(tmp_path / "tradeoff.csv")["task_score"].isna().all()
    assert text.count("not finished") == 4


def test_rows_without_their_facts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that was copied to a machine without the edit set is reported all the same."""
    facts = tmp_path / "facts.jsonl"
    facts.write_text('{"subject": "France", "prompt": "The capital of {} is", "target": "Rome"}\n')
    plan = made({"edits": {"source": str(facts)}})
    finish(plan, sweep(str(tmp_path / "out"), plan))
    facts.unlink()
    printed(str(tmp_path / "out"))
    assert len(pd.read_csv(tmp_path / "out" / "tradeoff.csv")) == 4
    assert "facts.jsonl" in caplog.text


def test_before_anything_is_finished(tmp_path: Path) -> None:
    sweep(str(tmp_path), made())
    text = printed(str(tmp_path))
    assert "There are no results yet." in text
    assert text.count("no result") == 5
    assert (tmp_path / "report.html").exists()


def test_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no sweep"):
        gather.report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_any_fsspec_path() -> None:
    url = "memory://report-test"
    plan = made()
    store = sweep(url, plan)
    finish(plan, store)
    printed(url)
    assert store.folder.read("tradeoff.csv").startswith(b"cell,model,method")
    assert store.folder.read("report.html").startswith(b"<!doctype html>")


def test_narrow_terminal_keeps_every_number(tmp_path: Path) -> None:
    plan = made()
    finish(plan, sweep(str(tmp_path), plan))
    text = printed(str(tmp_path), width=80)
    assert "…" not in text
    assert "0.900" in text
