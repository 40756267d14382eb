"""Ending a sequence early: the rules alone, and in a sweep with the real editor."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfolder.errors import InputError
from sweeps.config.config import Config, ModelSpec
from sweeps.config.search import StopSpec
from sweeps.plan import search
from sweeps.plan.grid import Cell
from sweeps.plan.identity import make_plan
from sweeps.results import tradeoff
from sweeps.run.stopping import Stopper
from sweeps.store.schema import measurement
from tests.sweeps.small import computed, small_config, sweep
from tests.tiny import save_tiny

CELL = Cell(ModelSpec(name="model"), checkpoints=(1, 2, 4, 8))


def reasons(rule: StopSpec, values: dict[int, float], earlier: dict[int, dict[str, float]] | None = None) -> list[int]:
    """The checkpoints at which a rule ends a cell."""
    stopper = Stopper([rule], CELL, earlier or {})
    return [n for n, value in values.items() if stopper.reason(n, [measurement("task", rule.figure, value)])]


def test_a_bound_from_either_side() -> None:
    assert reasons(StopSpec(figure="drift", at_least=2.0), {1: 1.9, 2: 2.0, 4: 0.0, 8: 3.0}) == [2, 8]
    assert reasons(StopSpec(figure="nli/score", at_most=0.0), {1: 0.1, 2: 0.0, 4: float("nan")}) == [2]


def test_several_checkpoints_in_a_row_also_across_an_interruption() -> None:
    rule = StopSpec(figure="nli/answered", at_most=0.1, checkpoints=2)
    assert reasons(rule, {1: 0.0, 2: 0.5, 4: 0.0, 8: 0.1}) == [8]
    assert reasons(rule, {4: 0.0}, earlier={1: {"nli/answered": 0.9}, 2: {"nli/answered": 0.05}}) == [4]
    assert reasons(rule, {8: 0.0}, earlier={2: {"nli/answered": 0.0}}) == []  # the one between is not known


def with_stop(folder: Path, **rule: float | str) -> Config:
    return small_config(
        folder,
        settings=[{"kind": "instance-sequential", "edits": 3, "checkpoints": [1, 2, 3]}],
        regularizers=["none", {"name": "rect", "k": [20]}],
        tasks={},
        stop=[rule],
    )


def test_a_stopped_cell_says_so_and_is_finished(tmp_path: Path) -> None:
    config = with_stop(save_tiny("llama", tmp_path / "model"), figure="drift", at_least=0.0)  # at the first checkpoint
    store = sweep(config, tmp_path / "out")
    rows, plan = store.rows(), make_plan(config)
    edited = [cell for cell in plan.cells if cell.method is not None]
    assert {cell.id for cell in edited} == set(rows[rows["kind"] == "stop"]["cell"])
    assert rows["n_edits"].max() == 1
    assert len(computed(store)) == 1
    assert all(not plan.missing(cell, store.done()) for cell in plan.cells)
    weighed = search.objectives(plan, rows).set_index("cell").loc[[cell.id for cell in edited]]
    assert weighed[["edit_score", "ability"]].isna().all(axis=None)  # after one edit it would beat those that went on
    notes = tradeoff.tradeoff(rows).set_index("cell")["notes"]
    assert all("stopped after 1 edits: drift >= 0" in notes[cell.id] for cell in edited)

    longer = config.model_copy(update={"stop": ()})  # without the rule the rest is wanted
    assert all(set(make_plan(longer).missing(cell, store.done())) == {2, 3} for cell in edited)


def test_a_rule_that_is_never_met_stops_nothing(tmp_path: Path) -> None:
    store = sweep(with_stop(save_tiny("llama", tmp_path / "model"), figure="drift", at_least=1e9), tmp_path / "out")
    assert set(store.rows()["n_edits"]) == {0, 1, 2, 3}
    assert "stop" not in set(store.rows()["kind"])


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"figure": "drift"}, "one of at_most and at_least is wanted"),
        ({"figure": "drift", "at_most": 1, "at_least": 2}, "one of at_most and at_least is wanted"),
        ({"figure": "nli/score", "at_most": 0}, "nothing called 'nli/score' is measured"),
    ],
)
def test_a_bad_rule_is_bad_input(tmp_path: Path, rule: dict[str, float | str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        with_stop(tmp_path, **rule)
