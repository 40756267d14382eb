"""Regularizers of checkpoints: they share one editing run, and each checkpoint is measured as they leave all edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from modelfolder.errors import InputError
from rect import regularizers
from rect.model import EditableModel
from rect.update import Dense, Update
from sweeps.plan.identity import make_plan
from sweeps.store.store import Store
from tests.sweeps.small import STEPS, computed, quiet, small_config
from tests.tiny import save_tiny

K = 20  # base 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


def config(folder: Path, regularizers: list[Any]) -> Any:
    strong = STEPS | {"v_lr": 80.0, "clamp_norm_factor": 1000.0, "layers": [1]}  # beyond sigma_max(W0)
    methods = [{"name": "rome", "hparams": strong}]
    return small_config(folder, methods=methods, regularizers=regularizers, tasks={"names": ["nli"], "examples": 1})


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return quiet(config(folder, ["none", {"name": "prune", "k": [K, 100]}]), tmp_path_factory.mktemp("out"))


def measured(store: Store, k: float) -> pd.DataFrame:
    rows = store.rows()
    rows = rows[(rows["kind"] != "time") & (rows["n_edits"] > 0)]
    level = rows["regularizer"].eq("none") if np.isnan(k) else rows["k"].eq(k)
    return rows[level].set_index(["n_edits", "kind", "name"])["value"].sort_index()


def test_they_add_no_edit(store: Store, folder: Path, tmp_path: Path) -> None:
    alone = quiet(config(folder, ["none"]), tmp_path)
    assert len(computed(store)) == 3
    assert sorted(computed(store)) == sorted(computed(alone))
    plan = make_plan(config(folder, [{"name": "prune", "k": K}]))  # known without the cell that has none
    (cell,) = [cell for cell in plan.cells if cell.method is not None]
    assert {one.id for one in plan.operations(cell, 3)} == set(computed(store))
    assert len({cell.id for cell in make_plan(config(folder, ["none", {"name": "prune", "k": K}])).cells}) == 3


def test_what_keeps_all_is_measured_as_no_regularizer(store: Store) -> None:
    kept, none = measured(store, 100), measured(store, float("nan"))
    assert kept.drop("weights", level="kind").equals(none.drop("weights", level="kind"))


def test_all_edits_together_are_pruned(store: Store, folder: Path) -> None:
    """Against an SVD of W - W0 from the stored updates, at both checkpoints."""
    plan = make_plan(config(folder, ["none"]))
    (cell,) = [cell for cell in plan.cells if cell.method is not None]
    model = EditableModel.load(str(folder), device="cpu")
    name = model.mlp_out_name(1)
    w0 = model.weight(name).double().numpy().copy()
    largest = np.linalg.svd(w0, compute_uv=False)[0]
    for number, operation in enumerate(plan.operations(cell, 3), start=1):
        update = store.update(operation.id)
        assert update is not None
        model.add(update)
        if number in (1, 3):
            u, s, v = np.linalg.svd(model.weight(name).double().numpy() - w0, full_matrices=False)
            assert s[0] > 1.5 * largest
            pruned = (u * np.where(s >= largest, np.log(s / largest) / np.log(100 / K) + largest, s)) @ v
            found = measured(store, K)[number, "weights", f"{name}/manhattan"]
            assert found == pytest.approx(np.abs(pruned).sum(), rel=1e-5)
            assert found < 0.9 * measured(store, float("nan"))[number, "weights", f"{name}/manhattan"]


class TestAskedForThen:
    """RECT and its kin at checkpoints: of all edits together, against the unedited weights."""

    THEN = ({"name": "rect", "k": [40], "when": "checkpoint"}, {"name": "random", "k": 40, "when": "checkpoint"})

    @pytest.fixture(scope="class")
    def both(self, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
        levels = ["none", {"name": "rect", "k": [40]}, {"name": "prune", "k": K, "when": "operation"}, *self.THEN]
        return quiet(config(folder, levels), tmp_path_factory.mktemp("both"))

    def test_they_add_no_edit(self, both: Store, folder: Path) -> None:
        plan = make_plan(config(folder, ["none", *self.THEN]))
        wanted = {one.id for cell in plan.cells for one in plan.operations(cell, 3)}
        assert len(wanted) == 3
        assert len(computed(both)) == 3 + 2 + 2  # rect and prune of operations share the first one
        assert wanted <= set(computed(both))

    def test_what_is_kept_is_the_definition(self, both: Store, folder: Path) -> None:
        plan = make_plan(config(folder, ["none"]))
        (cell,) = [cell for cell in plan.cells if cell.method is not None]
        model = EditableModel.load(str(folder), device="cpu")
        name = model.mlp_out_name(1)
        w0 = model.weight(name).numpy().copy()
        for operation in plan.operations(cell, 3):
            update = both.update(operation.id)
            assert update is not None
            model.add(update)
        made = np.abs(model.weight(name).numpy() - w0).astype(np.float64)
        order = np.argsort(-(made / np.abs(w0)), axis=None, kind="stable")[: round(0.4 * made.size)]
        rows = both.rows()
        rows = rows[(rows["n_edits"] == 3) & (rows["name"] == f"{name}/manhattan")].set_index("regularizer")["value"]
        assert rows["rect@checkpoint"] == pytest.approx(made.reshape(-1)[order].sum(), rel=1e-6)
        (first, *_) = plan.operations(cell, 3)
        whole = Update({name: Dense(model.weight(name) - model.original(name))})
        masked = regularizers.random(whole, model, k=40, seed=first.seed).dense(
            name
        )  # one mask, of the first operation
        assert rows["random@checkpoint"] == pytest.approx(float(masked.abs().sum(dtype=torch.float64)), rel=1e-6)
        assert rows["rect"] != pytest.approx(rows["rect@checkpoint"], rel=1e-3)
        assert set(rows.index) == {"none", "rect", "prune@operation", "rect@checkpoint", "random@checkpoint"}

    def test_the_published_time_is_no_other_cell(self, folder: Path) -> None:
        usual = make_plan(config(folder, [{"name": "rect", "k": 40}, {"name": "prune", "k": K}]))
        said = [{"name": "rect", "k": 40, "when": "operation"}, {"name": "prune", "k": K, "when": "checkpoint"}]
        assert [cell.id for cell in make_plan(config(folder, said)).cells] == [cell.id for cell in usual.cells]
        ids = [cell.id for cell in make_plan(config(folder, [{"name": "rect", "k": 40}, *self.THEN[:1]])).cells]
        assert len(set(ids)) == 3

    @pytest.mark.parametrize("name", ["simie", "rect-feedback"])
    def test_what_remembers_sees_every_operation(self, folder: Path, name: str) -> None:
        with pytest.raises(InputError, match=rf"small.yaml: regularizers.0: {name} at checkpoints: it is made of what"):
            config(folder, [{"name": name, "k": 40, "when": "checkpoint"}])
