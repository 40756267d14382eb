"""A small sweep for tests: a tiny random model, the real editor, the transformers engine. Seconds, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sweeps.config.config import Config, validate
from sweeps.plan.identity import Plan, make_plan
from sweeps.run.cell import CellRun
from sweeps.run.workplace import Workplace
from sweeps.store import journal
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.tiny import SENTENCES

STEPS = {"mom2_adjustment": False, "v_num_grad_steps": 3, "context_template_length_params": [[3, 2]]}

REMEMBERING = {
    "memit-history": {"mom2_update_weight": 2},
    "alphaedit": {"nullspace_share": 60, "L2": 1},
}
"""Methods that remember, at home on a tiny model."""


def remembering(name: str, folder: Path, **hparams: Any) -> dict[str, Any]:
    """One of them as an entry of `methods`; its covariance is of a text that is written beside the model."""
    text = folder.with_name("sentences.txt")
    text.write_text("\n".join(SENTENCES * 8), encoding="utf-8")
    shape = {"layers": [0, 1], "v_num_grad_steps": 2, "context_template_length_params": [[3, 2]]}
    return {
        "name": name,
        "hparams": shape | REMEMBERING[name] | hparams,
        "covariance": {"corpus": str(text), "tokens": 1700},
    }


def small_config(folder: Path, **changes: Any) -> Config:
    """Two checkpoints, three regularizers, two tasks; `changes` replace top-level keys."""
    data: dict[str, Any] = {
        "name": "small",
        "models": [str(folder)],
        "edits": {"source": "bundled", "count": 8},
        "methods": [{"name": "rome", "hparams": STEPS}],
        "settings": [{"kind": "instance-sequential", "edits": 3, "checkpoints": [1, 3]}],
        "regularizers": ["none", {"name": "rect", "k": [20, 60]}, {"name": "random", "k": 40}],
        "tasks": {"names": ["nli", "summarization"], "examples": 3},
        "engine": {"name": "transformers", "max_model_len": 256},
        "resources": {"cpus": 1, "max_failures": 1},
        "seed": 0,
    }
    if "seeds" in changes:
        del data["seed"]
    return validate({**data, **changes}, "small.yaml")


def run_here(plan: Plan, store: Store) -> None:
    """Run what is missing in this process."""
    log = Journal(store.folder)
    with Workplace(plan, store, log) as place:
        for cell in plan.cells:
            missing = plan.missing(cell, store.done())
            if missing:
                list(CellRun(place, cell, missing).checkpoints())
    log.close()


def sweep(config: Config, out: Path) -> Store:
    """Plan and run here; returns the store."""
    store = Store(out)
    run_here(make_plan(config), store)
    return store


def quiet(config: Config, out: Path) -> Store:
    """As `sweep`, with as many threads as a Ray worker with one CPU has: the bits of a result depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return sweep(config, out)
    finally:
        torch.set_num_threads(before)


def values(store: Store) -> pd.Series:
    """Everything measured but times, by what it is."""
    rows = store.rows()
    rows = rows[rows["kind"] != "time"]
    return rows.set_index(["cell", "n_edits", "evaluation", "kind", "name"])["value"].sort_index()


def computed(store: Store) -> list[str]:
    """Ids of the operations that an editor computed, in order, with repetitions."""
    return [event["operation"] for event in journal.events(store.folder) if event["event"] == "edit-computed"]
