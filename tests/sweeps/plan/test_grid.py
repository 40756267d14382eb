"""From a configuration to cells."""

from __future__ import annotations

from typing import Any

import pytest

from modelfolder.errors import InputError
from sweeps.config.config import Config, validate
from sweeps.plan import grid


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


def settings_of_two() -> list[dict[str, Any]]:
    return [
        {"kind": "instance-sequential", "methods": ["kn"], "regularizers": ["none"], "edits": 4},
        {"kind": "instance-sequential", "methods": ["slow"], "models": ["a"], "edits": 20},
        {"kind": "instance-sequential", "methods": ["fast"], "models": ["b"], "edits": 10},
    ]


def test_a_setting_may_be_for_some_models_methods_and_regularizers() -> None:
    methods = ["kn", {"name": "rome", "label": "slow"}, {"name": "rome", "label": "fast"}]
    cells, dropped = grid.expand(config(models=["a", "b"], methods=methods, settings=settings_of_two()))
    found = [(one.model.name, one.method.shown, one.regularizer, one.checkpoints) for one in cells if one.method]
    every = ["none", "rect", "rect", "rect", "random"]
    assert sorted(found) == sorted(
        [("a", "kn", "none", (4,)), ("b", "kn", "none", (4,))]
        + [("a", "slow", regularizer, (20,)) for regularizer in every]
        + [("b", "fast", regularizer, (10,)) for regularizer in every]
    )
    assert dropped == [
        ("kn instance-sequential under rect 20, 40, 80%, random 40%", "this setting is for none"),
    ]


def test_a_restriction_by_the_methods_name_is_for_all_its_labels() -> None:
    methods = ["rome", {"name": "rome", "label": "fast"}]
    settings = [{"kind": "instance-sequential", "methods": ["rome"], "edits": 2}]
    cells, _ = grid.expand(config(methods=methods, settings=settings, regularizers=["none"]))
    assert [cell.method.shown for cell in cells if cell.method] == ["rome", "fast"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([{"kind": "batch-single", "batch_sizes": [1], "models": ["b"]}], "settings: none is for the model a"),
        (
            [{"kind": "batch-single", "batch_sizes": [1], "methods": ["rome"]}],
            "'kn' has no legal cell in these settings: none is for it",
        ),
    ],
)
def test_a_model_or_method_that_no_setting_is_for_is_an_error(settings: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        grid.expand(config(models=["a", "b"], methods=["rome", "kn"], settings=settings))


def test_what_rect_does_to_sparse_updates_is_noted() -> None:
    changed = config(methods=["kn"], settings=settings_of_two()[:1])
    cells, _ = grid.expand(config(methods=["kn", "rome"]))
    ((what, why),) = grid.notes(config(methods=["kn", "rome"]), cells)
    assert what == "kn under rect 20, 40, 80%"
    assert why.startswith("keeps everything, as none does, wherever fewer than k% of a matrix' elements are not zero")
    ((_, why),) = grid.notes(changed, grid.expand(changed)[0])
    assert why.startswith("not in this grid; it keeps everything")
    assert grid.notes(config(), cells) == []
    assert grid.notes(config(methods=["kn"], regularizers=["none", {"name": "random", "k": 40}]), cells) == []
