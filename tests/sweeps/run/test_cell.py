"""A cell without Ray: what is measured, what is kept, and that nothing is computed twice."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import tasks
from modelfolder.errors import InputError
from rect.model import EditableModel
from rect.update import Dense, Update, UpdateError
from sweeps.plan.identity import make_plan
from sweeps.run import measure
from sweeps.run.cell import CellRun
from sweeps.run.workplace import Workplace
from sweeps.store.journal import Journal
from sweeps.store.store import Store, StoreError
from tests.sweeps.small import computed, run_here, small_config, sweep, values
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The small sweep, run once without interruption."""
    return sweep(small_config(folder), tmp_path_factory.mktemp("whole"))


def test_every_cell_is_done(store: Store, folder: Path) -> None:
    plan = make_plan(small_config(folder))
    assert all(not plan.missing(cell, store.done()) for cell in plan.cells)


def test_rows_hold_what_the_tables_promise(store: Store) -> None:
    rows = store.rows()
    assert set(rows["kind"]) == {"edit", "task", "ability", "weights", "time"}
    edited = rows[(rows["regularizer"] == "rect") & (rows["k"] == 20) & (rows["n_edits"] == 3)]
    names = set(edited["name"])
    for metric in ("reliability/token_accuracy", "reliability/preference", "generalization/token_accuracy"):
        assert {metric, f"{metric}/fact-0", f"{metric}/fact-2"} <= names
    assert {"locality/token_accuracy", "perplexity", "drift", "nli/score", "summarization/score"} <= names
    matrix = next(name for name in names if name.endswith("/manhattan")).removesuffix("/manhattan")
    for what in ("share_over_0.077", "share_over_0.171", "share_kept", "share_nonzero_kept"):
        assert f"{matrix}/{what}" in names
    assert {"editing_seconds", "regularizing_seconds", "swapping_seconds", "generating_seconds", "from_store"} <= names
    kept = edited.set_index("name")["value"][f"{matrix}/share_kept"]
    assert kept == pytest.approx(0.2, abs=1e-3)
    assert edited.set_index("name")["n"][f"{matrix}/share_kept"] == 3  # the mean of all operations so far
    assert set(rows["engine"]) == {"transformers"}
    assert rows[rows["kind"] == "task"]["n"].max() == 3


def test_the_unedited_model_is_scored_once(store: Store) -> None:
    unedited = store.rows().query("setting == 'unedited'")
    assert unedited["cell"].nunique() == 1
    assert set(unedited["n_edits"]) == {0}
    assert set(unedited["method"]) == {"none"}
    drift = unedited.set_index("name")["value"]["drift"]
    assert drift == pytest.approx(0, abs=1e-9)
    assert not (unedited["kind"] == "edit").any()


def test_drift_and_perplexity_are_there_per_text(store: Store) -> None:
    rows = store.rows()
    taken = rows[rows["kind"] == "ability"].assign(what=lambda r: r["name"].str.split("/").str[0])
    for _, group in taken.groupby(["cell", "n_edits"]):
        whole = group[group["name"] == group["what"]].set_index("name")
        drift, text = (group[group["name"].str.startswith(f"{name}/text-")] for name in ("drift", "perplexity"))
        assert len(drift) == len(text) == 16
        assert whole["value"]["drift"] == pytest.approx(drift["value"].mean())
        assert whole["stderr"]["drift"] == pytest.approx(drift["value"].std(ddof=1) / 4)
        losses, tokens = np.log(text["value"].to_numpy()), text["n"].to_numpy()
        assert whole["value"]["perplexity"] == pytest.approx(np.exp((losses * tokens).sum() / tokens.sum()))
        draws = np.random.default_rng(0).integers(0, 16, (4000, 16))  # the error against drawing the texts anew
        drawn = np.exp((losses * tokens)[draws].sum(1) / tokens[draws].sum(1))
        assert whole["stderr"]["perplexity"] == pytest.approx(drawn.std(), rel=0.1)


def test_scores_can_be_recomputed_from_the_outputs(store: Store) -> None:
    outputs, rows = store.outputs(), store.rows()
    assert len(outputs) == 9 * 2 * 3  # checkpoints, tasks, examples
    nli = tasks.get("nli")
    examples = nli.examples("bundled", limit=3, seed=0)
    for (cell, n_edits), group in outputs[outputs["task"] == "nli"].groupby(["cell", "n_edits"]):
        texts = list(group.sort_values("index")["output"])
        row = rows[(rows["cell"] == cell) & (rows["n_edits"] == n_edits) & (rows["name"] == "nli/score")]
        assert row["value"].item() == nli.score(texts, examples)["score"].value
        assert [json.loads(gold) for gold in group.sort_values("index")["gold"]] == [one.gold for one in examples]


def test_editing_shows_in_outputs_and_metrics(store: Store) -> None:
    rows, outputs = store.rows(), store.outputs()
    before = outputs[outputs["n_edits"] == 0].sort_values(["task", "index"])["output"].tolist()
    last = rows[(rows["regularizer"] == "none") & (rows["n_edits"] == 3)]["cell"].iloc[0]
    after = outputs[(outputs["cell"] == last) & (outputs["n_edits"] == 3)].sort_values(["task", "index"])["output"]
    assert before != after.tolist()
    drift = rows[(rows["cell"] == last) & (rows["name"] == "drift")].set_index("n_edits")["value"]
    assert 0 < drift[1] < drift[3]


def test_each_operation_is_computed_once_and_the_first_by_one_cell(store: Store) -> None:
    found = computed(store)
    assert len(found) == len(set(found)) == 1 + 4 * 2


def test_a_second_run_does_nothing(store: Store, folder: Path) -> None:
    before = len(list(Path(store.url, "rows").iterdir()))
    run_here(make_plan(small_config(folder)), store)
    assert len(list(Path(store.url, "rows").iterdir())) == before
    assert len(computed(store)) == 9


def test_a_resumed_cell_equals_an_uninterrupted_one(store: Store, folder: Path, tmp_path: Path) -> None:
    plan = make_plan(small_config(folder))
    again = Store(tmp_path)
    for cell in plan.cells:  # each cell up to its first checkpoint, then all is dropped
        with Workplace(plan, again, Journal(again.folder)) as place:
            next(CellRun(place, cell, plan.missing(cell, set())).checkpoints())
    run_here(plan, again)
    assert len(computed(again)) == len(set(computed(again))) == 9
    pd.testing.assert_series_equal(values(again), values(store), rtol=0, atol=1e-6)


def test_a_grown_sweep_runs_only_what_is_new(store: Store, folder: Path, tmp_path: Path) -> None:
    grown = small_config(
        folder,
        settings=[{"kind": "instance-sequential", "edits": 4, "checkpoints": [1, 2, 4]}],
        regularizers=["none"],
        tasks={"names": ["nli", "summarization", "dialogue"], "examples": 3},
    )
    first = sweep(small_config(folder, regularizers=["none"]), tmp_path)
    assert len(computed(first)) == 3
    run_here(make_plan(grown), first)
    assert len(computed(first)) == 4
    rows = first.rows()
    at_one = rows[rows["n_edits"] == 1]
    assert at_one.loc[at_one["kind"] != "time", "name"].is_unique
    dialogue = rows[rows["name"] == "dialogue/score"]
    assert sorted(dialogue["n_edits"]) == [0, 1, 2, 4]
    whole = sweep(grown, tmp_path / "whole")
    shared = values(first).index.intersection(values(whole).index)
    assert len(shared) == len(values(whole))
    pd.testing.assert_series_equal(values(first)[shared], values(whole)[shared], rtol=0, atol=1e-6)


def test_the_model_is_unedited_between_cells(folder: Path, tmp_path: Path) -> None:
    plan, store = make_plan(small_config(folder)), Store(tmp_path)
    cell = plan.cells[1]
    with Workplace(plan, store, Journal(store.folder)) as place:
        model = place.model(cell.model)
        clean = model.digest()
        work = CellRun(place, cell, plan.missing(cell, set())).checkpoints()
        next(work)
        assert model.digest() != clean
        work.close()
        assert model.digest() == clean
        assert place.model(cell.model) is model


def test_another_model_replaces_model_and_engine(folder: Path, tmp_path: Path) -> None:
    other = save_tiny("gpt2", tmp_path / "other")
    config = small_config(folder, models=[str(folder), str(other)], regularizers=["none"])
    store = sweep(config, tmp_path / "sweep")
    rows = store.rows()
    assert set(rows["model"]) == {str(folder), str(other)}
    scores = rows[rows["name"] == "perplexity"].groupby("model")["value"].first()
    assert scores.nunique() == 2


def test_an_update_that_was_tampered_with_is_found_at_replay(folder: Path, tmp_path: Path) -> None:
    config = small_config(folder, regularizers=["none"])
    store = sweep(config, tmp_path)
    plan = make_plan(config)
    cell = plan.cells[1]
    first = next(plan.operations(cell, 1))
    update = store.update(first.id)
    assert update is not None
    name = next(iter(update))
    store.folder.remove(f"updates/{first.id}.safetensors")
    store.put_update(first.id, Update({name: Dense(update.dense(name) * 1.01)}))
    with Workplace(plan, store, Journal(store.folder)) as place, pytest.raises(StoreError, match="other weights"):
        list(CellRun(place, cell, plan.missing(cell, set())).checkpoints())


def test_an_update_with_nan_fails_the_cell_and_names_the_matrix(folder: Path, tmp_path: Path) -> None:
    plan, store = make_plan(small_config(folder)), Store(tmp_path)
    cell = plan.cells[2]
    first = next(plan.operations(cell, 1))
    with Workplace(plan, store, Journal(store.folder)) as place:
        model = place.model(cell.model)
        name = model.mlp_out_name(0)
        bad = Update({name: Dense(torch.full_like(model.weight(name), math.nan))})
        store.folder.write(f"updates/{first.id}.safetensors", bad.to_bytes())
        with pytest.raises(UpdateError, match=name.replace(".", r"\.")):
            list(CellRun(place, cell, plan.missing(cell, set())).checkpoints())
        assert model.changed() == {}
    assert store.done() == set()


def test_edit_metrics_are_those_of_the_engines_dtype(folder: Path) -> None:
    model = EditableModel.load(str(folder))
    name = model.mlp_out_name(0)
    before = {key: parameter.clone() for key, parameter in model.hf.named_parameters()}
    with measure.in_dtype(model, "bfloat16"):
        assert torch.equal(model.weight(name), before[name].bfloat16().float())
        assert not torch.equal(model.weight(name), before[name])
    assert all(torch.equal(parameter, before[key]) for key, parameter in model.hf.named_parameters())
    with measure.in_dtype(model, "float32"):
        assert torch.equal(model.weight(name), before[name])


def test_a_worker_refuses_another_model_than_was_planned(folder: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(folder, tmp_path / "model"))
    plan = make_plan(small_config(here, regularizers=["none"]))
    save_tiny("llama", here, seed=1)
    store = Store(tmp_path / "out")
    with pytest.raises(InputError, match=r"another model than this sweep was planned with: sha256:\w+, not sha256:"):
        run_here(plan, store)
    assert store.rows().empty
    assert not store.folder.names("updates")


def test_what_other_weights_gave_is_neither_used_nor_shown(folder: Path, tmp_path: Path) -> None:
    here, how = Path(shutil.copytree(folder, tmp_path / "model")), {"regularizers": ["none"]}
    store = sweep(small_config(here, **how), tmp_path / "out")
    first = store.rows()
    save_tiny("llama", here, seed=1)
    again = make_plan(small_config(here, **how))
    assert all(again.missing(cell, store.done()) for cell in again.cells)
    run_here(again, store)
    alone = sweep(small_config(here, **how), tmp_path / "alone")
    assert not {cell.id for cell in again.cells} & set(first["cell"])
    both, own = values(store), values(alone)
    assert both[both.index.isin(own.index)].equals(own)
    assert len(both) == 2 * len(own)
