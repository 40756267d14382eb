"""Times of several passes over one cell stand side by side; measurements do not."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeps.plan import costs
from sweeps.store import journal, schema
from sweeps.store.folder import StoreError
from sweeps.store.store import Store
from tests.sweeps.small import small_config, sweep
from tests.tiny import save_tiny

WHERE = {"cell": "c" * 32, "n_edits": 2}


def line(kind: str, name: str, value: float) -> schema.Row:
    return schema.measurement(kind, name, value, n=1, evaluation="" if kind == "time" else "e")


def test_each_pass_keeps_its_times(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for value in (1.0, 2.0):
        taken = [line("time", "editing_seconds", value), line("task", "nli/score", 0.5)]
        store.write(WHERE["cell"], 2, schema.complete(taken, WHERE), [])
    found = store.rows()
    assert sorted(found.loc[found["kind"] == "time", "value"]) == [1.0, 2.0]
    assert len(found) == 3, "one score, whoever took it"


def test_a_pass_that_is_written_twice_counts_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    taken = schema.complete([line("time", "editing_seconds", 1.0)], WHERE)
    store.write(WHERE["cell"], 2, taken, [])
    store.write(WHERE["cell"], 2, taken, [])
    assert len(store.rows()) == 1


def test_a_task_that_is_added_adds_its_time(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    first = {"names": ["nli"], "examples": 3}
    sweep(small_config(folder, tasks=first), tmp_path / "out")
    store = sweep(small_config(folder, tasks={**first, "names": ["nli", "sentiment"]}), tmp_path / "out")
    times = store.rows()
    times = times[times["kind"] == "time"]
    assert times.groupby(["cell", "n_edits", "name"])["n"].count().loc[:, :, "generating_seconds"].eq(2).all()
    asked = times.loc[times["name"] == "generating_seconds", "n"].sum()
    assert asked == len(store.outputs())
    applied = times.loc[times["name"] == "regularizing_seconds", "n"].sum()
    loaded = [event for event in journal.events(store.folder) if event["event"] in ("edit-loaded", "edit-computed")]
    assert applied == len(loaded)
    spent = times.loc[times["name"] == "generating_seconds", "value"].sum()
    assert costs.measure(store).prompt == pytest.approx(spent / asked)


def test_rows_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    taken = [line("time", "editing_seconds", 1.0), line("task", "nli/score", 0.5)]
    store.write(WHERE["cell"], 2, schema.complete(taken, WHERE), [])
    (part,) = (tmp_path / "rows").iterdir()
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(["pass"]), part)
    store.check_part(f"rows/{part.name}")
    store.write(WHERE["cell"], 2, schema.complete([line("task", "nli/score", 0.5)], WHERE), [])
    assert len(store.rows()) == 2, "a score of both versions is one score"
    pq.write_table(table.drop_columns(["evaluation"]), part)
    with pytest.raises(StoreError):
        store.check_part(f"rows/{part.name}")
