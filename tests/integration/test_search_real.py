"""The search for the smallest k on a real model: what the whole grid with tasks finds, from one computed update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.config.config import Config, validate
from sweeps.plan import search
from sweeps.plan.identity import make_plan
from sweeps.results import tradeoff
from sweeps.store.store import Store
from tests.sweeps.small import computed, run_here, sweep

SHARE = 0.94
KS = [2.0, 10.0, 30.0, 60.0, 100.0]

pytestmark = [pytest.mark.slow, pytest.mark.model]


def config(folder: Path, **changes: Any) -> Config:
    data = {
        "name": "search-real",
        "models": [str(folder)],
        "methods": [
            {"name": "rome", "hparams": {"mom2_adjustment": False, "context_template_length_params": [[5, 2]]}}
        ],
        "settings": [{"kind": "batch-single", "batch_sizes": [1]}],
        "tasks": {"names": ["sentiment"], "examples": 2},
        "engine": {"name": "transformers", "max_model_len": 512},
    }
    return validate({**data, **changes}, "test")


def test_the_search_finds_what_the_whole_grid_finds(default_model_folder: Path, tmp_path: Path) -> None:
    grid = sweep(config(default_model_folder, regularizers=["none", {"name": "rect", "k": KS}]), tmp_path / "grid")
    table = tradeoff.tradeoff(grid.rows())
    wanted = tradeoff.smallest_k(table, SHARE).iloc[0]["k"]
    kept = table[table["regularizer"] == "rect"]["edit_retention"]
    assert kept.min() < SHARE <= kept.max(), "an edit for which k matters"

    plan = make_plan(config(default_model_folder, search={"keep-at-least": SHARE, "k": KS}))
    store = Store(tmp_path / "search")
    run_here(search.scan(plan), store)
    search.pick(plan, store, search.chosen(plan, store.rows()))
    run_here(search.decided(plan, store), store)
    rows = store.rows()
    assert set(rows[rows["kind"] == "task"]["k"].dropna()) == {wanted}
    assert set(rows[rows["kind"] == "edit"]["k"].dropna()) == set(KS)
    assert len(computed(store)) == 1
