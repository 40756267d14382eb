"""From a configuration to cells."""

from __future__ import annotations

from typing import Any

import pytest

from rect.errors import InputError
from sweeps import grid
from sweeps.config import Config, validate


def config(**changes: Any) -> Config:
    data: dict[str, Any] = {
        "name": "grid",
        "models": ["a"],
        "methods": ["rome"],
        "settings": [{"kind": "instance-sequential", "edits": 6, "checkpoints": [2, 6]}],
        "regularizers": ["none", {"name": "rect", "k": [20, 40, 80]}, {"name": "random", "k": 40}],
    }
    return validate({**data, **changes}, "test")


def test_demo_grid() -> None:
    cells, dropped = grid.expand(config())
    assert [str(cell) for cell in cells] == [
        "a unedited",
        "a rome instance-sequential none seed=0",
        "a rome instance-sequential rect 20% seed=0",
        "a rome instance-sequential rect 40% seed=0",
        "a rome instance-sequential rect 80% seed=0",
        "a rome instance-sequential random 40% seed=0",
    ]
    assert cells[0].checkpoints == (0,)
    assert cells[1].checkpoints == (2, 6)
    assert dropped == []


def test_cells_are_ordered_by_model_and_leaders_come_first() -> None:
    cells, _ = grid.expand(config(models=["a", "b"], seeds=[0, 1]))
    assert [cell.model.name for cell in cells] == ["a"] * 11 + ["b"] * 11
    assert [(cell.regularizer, cell.seed) for cell in cells[:5]] == [
        ("none", 0),  # unedited
        ("none", 0),
        ("none", 1),
        ("rect", 0),
        ("rect", 0),
    ]


def test_senseless_cells_are_dropped_with_the_reason() -> None:
    settings = [{"kind": "batch-single", "batch_sizes": [1, 10]}]
    regularizers = [{"name": "none", "k": 40}, {"name": "rect", "k": 40}]
    cells, dropped = grid.expand(config(methods=["rome"], settings=settings, regularizers=regularizers))
    assert {cell.batch_size for cell in cells} == {0, 1}
    assert [cell.k for cell in cells] == [None, None, 40.0]
    assert dropped == [
        ("regularizer none with k = 40", "none keeps everything: it is run once, without k"),
        ("rome batch-single b=10", "rome edits one fact per operation"),
    ]


def test_a_method_without_a_legal_cell_is_an_error() -> None:
    with pytest.raises(InputError, match="methods: 'rome' has no legal cell in these settings: rome edits one fact"):
        grid.expand(config(settings=[{"kind": "batch-single", "batch_sizes": [10]}]))


def test_checkpoint_zero_is_the_unedited_cell() -> None:
    settings = [{"kind": "instance-sequential", "edits": 4, "checkpoints": [0, 4, 2]}]
    cells, _ = grid.expand(config(settings=settings, regularizers=["none"]))
    assert [cell.checkpoints for cell in cells] == [(0,), (2, 4)]


def test_one_sequence_asked_for_twice_is_one_cell() -> None:
    settings = [
        {"kind": "instance-sequential", "edits": 4},
        {"kind": "instance-sequential", "edits": 8, "checkpoints": [2, 8]},
    ]
    cells, _ = grid.expand(config(settings=settings, regularizers=["none"]))
    assert [cell.checkpoints for cell in cells] == [(0,), (2, 4, 8)]


def test_counts_per_axis() -> None:
    cells, _ = grid.expand(config())
    table = grid.counts(cells)
    assert table["regularizer"] == {"none": 2, "rect": 3, "random": 1}
    assert table["k"] == {"-": 2, "20": 1, "40": 2, "80": 1}
