"""Cells whose method or regularizer remembers: a sequence that was cut short equals the undisturbed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rect.editors.memit import Memit
from rect.history import History
from sweeps.plan.identity import make_plan
from sweeps.run.cell import CellRun
from sweeps.run.workplace import Workplace
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.sweeps.small import REMEMBERING, computed, quiet, remembering, small_config, values
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def config(folder: Path) -> Any:
    return small_config(
        folder,
        methods=[remembering(name, folder) for name in REMEMBERING],
        settings=[{"kind": "batch-sequential", "edits": 3, "batch_sizes": [2], "checkpoints": [1, 3]}],
        regularizers=[
            "none",
            {"name": "rect", "k": 40},
            {"name": "rect-feedback", "k": 40},
            {"name": "null-space", "k": 50},
            {"name": "simie", "k": 80},
            {"name": "sphere", "k": 50},
        ],
        tasks={"names": ["nli"], "examples": 1},
    )


@pytest.fixture(scope="module")
def whole(config: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return quiet(config, tmp_path_factory.mktemp("whole"))


def test_every_cell_is_measured_and_the_regularizers_differ(config: Any, whole: Store) -> None:
    plan = make_plan(config)
    assert all(not plan.missing(cell, whole.done()) for cell in plan.cells)
    rows = whole.rows()
    last = rows[(rows["n_edits"] == 3) & (rows["name"].str.endswith("manhattan"))]
    for _, group in last.groupby(["method", "name"]):
        assert group["value"].nunique() == group["cell"].nunique() == 6


def test_what_text_feels_of_the_edits_is_told(whole: Store) -> None:
    """Per matrix and checkpoint, where C is known."""
    rows = whole.rows()
    rows = rows[(rows["kind"] == "weights") & rows["name"].str.endswith("/leak")]
    assert len(rows) == 2 * 6 * 2 * 2  # methods, regularizers, checkpoints, layers
    assert (rows["value"] > 0).all()


def test_cut_short_and_continued_it_gives_the_same_bits_and_no_key_is_computed_anew(
    config: Any, whole: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plan = Store(tmp_path), make_plan(config)
    log = Journal(store.folder)
    with Workplace(plan, store, log) as place:
        for cell in plan.cells:
            if cell.method is not None:  # left after its first checkpoint, as by a kill
                next(CellRun(place, cell, plan.missing(cell, store.done())).checkpoints())
    log.close()
    first = computed(store)
    seen: list[int] = []

    def compute(self: Memit, model: Any, facts: Any, history: History | None = None) -> Any:
        assert history is not None
        seen.append(len(history))
        return original(self, model, facts, history)

    original = Memit.compute
    monkeypatch.setattr(Memit, "compute", compute)
    quiet(config, tmp_path)
    assert seen.count(0) == 0  # the first operations came from the store, and their keys with them
    assert set(seen) == {1, 2}
    assert len(set(first)) == len(first)
    assert sorted(computed(store)) == sorted(computed(whole))
    assert values(store).equals(values(whole))


def test_updates_carry_their_keys(config: Any, whole: Store) -> None:
    plan = make_plan(config)
    cell = next(cell for cell in plan.cells if cell.method is not None and cell.regularizer == "rect")
    for operation in plan.operations(cell, 3):
        update = whole.update(operation.id)
        assert update is not None
        assert {name: parts["keys"].shape for name, parts in update.memory.items()} == {
            f"model.layers.{layer}.mlp.down_proj.weight": (2, 160) for layer in (0, 1)
        }
