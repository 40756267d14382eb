"""configs/field.yaml: every method and regularizer that needs no training and no other environment, in one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rect.editors import EDITORS
from rect.editors.easyeditor import environment
from rect.regularizers import REGULARIZERS
from sweeps.config import config
from sweeps.plan import needs
from sweeps.plan.identity import Plan, make_plan
from sweeps.store import journal
from sweeps.store.store import Store
from tests.sweeps.small import computed, quiet
from tests.tiny import save_tiny

FILE = Path(__file__).resolve().parents[3] / "configs" / "field.yaml"
METHODS = {name for name in EDITORS if not name.startswith(environment.PREFIX)} - {"mend"}


def planned(overrides: Sequence[str] = ()) -> Plan:
    return make_plan(config.load(FILE, overrides))


def operations(plan: Plan, regularizers: set[str] | None = None) -> set[str]:
    """Ids of all operations, or of those under some regularizers."""
    cells = [cell for cell in plan.cells if cell.method and (regularizers is None or cell.regularizer in regularizers)]
    return {one.id for cell in cells for one in plan.operations(cell, cell.checkpoints[-1])}


def test_everything_is_in_it_and_nothing_is_dropped() -> None:
    plan = planned()
    assert {cell.method.name for cell in plan.cells if cell.method} == METHODS
    assert {cell.regularizer for cell in plan.cells} == {*REGULARIZERS, "rect@checkpoint"}
    assert needs.lacking(plan.cells) == []
    closed = [cell for cell in plan.cells if cell.batch_size == 5]
    assert {cell.checkpoints for cell in closed} == {(2,)}
    assert all(len(plan.edited(cell, 2)) == 10 for cell in closed)
    assert len(plan.cells) == 127
    assert all(why.startswith("this setting is for") for _, why in plan.dropped)


def test_checkpoint_regularizers_add_no_edit() -> None:
    plan = planned()
    assert operations(plan, {"none", "prune", "rect@checkpoint"}) == operations(plan, {"none"})
    assert len(operations(plan, {"none"})) == 2 * len(METHODS)


@pytest.mark.slow
def test_it_runs_on_a_tiny_model(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model", num_hidden_layers=4)
    changes: list[Any] = [f"models=[{folder}]", "engine.name=transformers", "engine.max_model_len=256"]
    changes += ["tasks.names=[nli]", "tasks.examples=1"]
    plan, store = planned(changes), Store(tmp_path / "out")
    quiet(config.load(FILE, changes), tmp_path / "out")
    assert all(not plan.missing(cell, store.done()) for cell in plan.cells)
    assert store.failures() == {}
    assert sorted(computed(store)) == sorted(operations(plan))  # each once
    found = [event for event in journal.events(store.folder) if event["event"] == "vectors-found"]
    assert len(found) == 2 * 2  # two operations, of ENCORE and of all others
