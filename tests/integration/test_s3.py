"""The store on an S3 protocol server on loopback: the same rows, put-if-absent, parts put together, a cell resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from rect.update import Dense, Update
from sweeps.commands import upkeep
from sweeps.plan.identity import make_plan
from sweeps.report import gather
from sweeps.run import progress
from sweeps.run.cell import CellRun
from sweeps.run.workplace import Workplace
from sweeps.store import journal
from sweeps.store.journal import Journal
from sweeps.store.parts import LARGE
from sweeps.store.schema import ROWS, complete, measurement
from sweeps.store.store import Store
from tests.integration.conftest import Server
from tests.sweeps.small import computed, run_here, small_config, sweep, values
from tests.tiny import save_tiny

pytestmark = pytest.mark.slow


def test_a_sweep_on_s3_is_the_sweep_on_a_disk(bucket: str, tmp_path: Path) -> None:
    config = small_config(save_tiny("llama", tmp_path / "model"), regularizers=["none", {"name": "rect", "k": 20}])
    whole = sweep(config, tmp_path / "whole")
    store, plan = Store(f"{bucket}/sweep"), make_plan(config)
    cell = plan.cells[-1]
    log = Journal(store.folder)
    with Workplace(plan, store, log) as place:
        run = CellRun(place, cell, plan.missing(cell, set())).checkpoints()
        next(run)  # the first checkpoint; there the process ends
        run.close()
    log.close()
    assert {n for _, n, _ in store.done(cell.id)} == {1}

    run_here(plan, store)
    assert len(computed(store)) == len(set(computed(store))) == 5
    pd.testing.assert_series_equal(values(store), values(whole), rtol=0, atol=1e-6)
    store.folder.write("config.yaml", config.as_yaml().encode())
    assert progress.status(store.url).done == 3
    assert upkeep.verify(store) == []
    gather.report(store.url)
    assert store.folder.exists("tradeoff.csv")


def test_put_once_and_parts_put_together(bucket: str) -> None:
    store = Store(f"{bucket}/parts")
    first, second = (Update({"w": Dense(torch.full((2, 2), value))}) for value in (1.0, 2.0))
    assert torch.equal(store.put_update("a", first).dense("w"), first.dense("w"))
    assert torch.equal(store.put_update("a", second).dense("w"), first.dense("w"))  # the loser takes the winner's
    assert not store.folder.write_if_absent("updates/a.safetensors", b"")
    nothing: dict[str, Any] = dict.fromkeys((field.name for field in ROWS), None)
    for index in range(70):
        where = {**nothing, "cell": f"{index:032x}", "n_edits": 1}
        store.write(where["cell"], 1, complete([measurement("edit", "x", index, evaluation="e")], where), [])
    before = store.rows()
    assert store.compact() == 70
    [name] = store.folder.names("rows")
    assert name.startswith(f"rows/{LARGE}")
    pd.testing.assert_frame_equal(
        store.rows().sort_values("cell", ignore_index=True), before.sort_values("cell", ignore_index=True)
    )
    assert store.done(f"{7:032x}") == {(f"{7:032x}", 1, "e")}


def test_events_are_read_back(bucket: str) -> None:
    store = Store(f"{bucket}/events")
    log = Journal(store.folder)
    log.write("cell-started", cell="a")
    log.write("cell-done", cell="a")
    log.close()
    assert [event["event"] for event in journal.events(store.folder)] == ["cell-started", "cell-done"]


def row_of(cell: str) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys((field.name for field in ROWS), None)
    return {**nothing, "cell": cell, "n_edits": 1, "kind": "edit", "name": "x", "evaluation": "e", "pass": ""}


READS: dict[str, Callable[[Store, Any], object]] = {
    "a file": lambda store, _: store.folder.read("a"),
    "a file that was opened before": lambda _, opened: opened.read(),
    "whether a file is there": lambda store, _: store.folder.exists("a"),
    "a listing": lambda store, _: store.folder.sizes("rows"),
    "rows": lambda store, _: len(store.rows()),
    "parts put together": lambda store, _: store._rows.compact(least=2),
    "a file put once": lambda store, _: store.folder.write_if_absent("b", b"2"),
    "a file written": lambda store, _: store.folder.write("c", b"3"),
}
EXPECTED = [b"1", b"1", True, {}, 2, 2, True, None]


@pytest.mark.parametrize(("what", "expected"), [*zip(READS, EXPECTED, strict=True)])
def test_a_store_that_is_away_for_a_while_is_waited_for(
    what: str, expected: object, bucket: str, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client tries once by itself, so whatever is tried again is tried again here."""
    s3fs = pytest.importorskip("s3fs")

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    store = Store(f"{bucket}/away-{list(READS).index(what)}")
    store.folder.write("a", b"1")
    for cell in "ab":
        store.write(cell, 1, [row_of(cell)], [])
    sizes = store.folder.sizes("rows")
    opened = store.folder.open("a")
    s3_server.stop()
    timer = threading.Timer(2.0, s3_server.start)
    timer.start()
    try:
        assert READS[what](store, opened) == (expected or sizes if what == "a listing" else expected)
        assert timer.finished.is_set()
    finally:
        timer.join()
