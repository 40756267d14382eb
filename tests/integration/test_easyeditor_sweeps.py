"""EasyEdit's methods in a sweep, on a tiny model: dense updates in both engines, and what fails beside what goes on."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rect.editors.easyeditor import environment
from sweeps.config.config import Config
from sweeps.plan.identity import make_plan
from sweeps.report import gather
from sweeps.results.tradeoff import tradeoff
from sweeps.run.trial import EditingTrial
from sweeps.store.store import Store
from tests.sweeps.run.test_trial import run_trials
from tests.sweeps.small import STEPS, computed, small_config, sweep
from tests.tiny import save_tiny

pytestmark = pytest.mark.easyeditor

DENSE = [
    {
        "name": "easyeditor:FT",
        "hparams": {"layers": [0, 1], "num_steps": 10, "lr": 5e-3, "rewrite_module_tmp": "model.layers.{}.mlp"},
    },
    {"name": "easyeditor:LoRA", "hparams": {"num_steps": 10, "rank": 2}},
]


def dense_config(folder: Path, engine: str) -> Config:
    """FT on gate, up and down of two layers, LoRA on q and v of all; none and RECT 40."""
    return small_config(
        folder / "model",
        methods=DENSE,
        settings=[{"kind": "batch-single", "batch_sizes": [2]}],
        regularizers=["none", {"name": "rect", "k": 40}],
        tasks={"names": ["nli", "summarization"], "examples": 3},
        engine={"name": engine, "max_model_len": 256, "kv_cache_gib": 0.25},
    )


@pytest.fixture(scope="module")
def swept(easyeditor: environment.Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and the output of the sweep above."""
    folder = tmp_path_factory.mktemp("swept")
    save_tiny("llama", folder / "model")
    sweep(dense_config(folder, "transformers"), folder / "out")
    return folder


def test_dense_and_several_matrices_go_through_a_sweep_to_the_report(swept: Path) -> None:
    store = Store(swept / "out")
    rows = store.rows()
    table = tradeoff(rows)
    edited = table[table["setting"] != "unedited"]
    assert edited.groupby("method", observed=True).size().to_dict() == {"easyeditor:FT": 2, "easyeditor:LoRA": 2}
    assert edited["locality_token_accuracy"].notna().all()
    assert len(computed(store)) == 2  # both regularizers share the operation
    weights = rows[(rows["regularizer"] == "rect") & rows["name"].str.endswith("/share_kept")]
    assert weights["value"].between(0.39, 0.41).all()
    (swept / "out" / "config.yaml").write_text(dense_config(swept, "transformers").as_yaml())
    gather.report(str(swept / "out"))
    assert "easyeditor:LoRA" in (swept / "out" / "report.html").read_text()


@pytest.mark.vllm
def test_they_reach_vllm_too(swept: Path) -> None:
    """Which says, cell by cell, what transformers says; parts of its fused matrices change (q and v; gate and up)."""
    before = set(Store(swept / "out").outputs()["evaluation"])
    store = sweep(dense_config(swept, "vllm"), swept / "out")
    assert len(computed(store)) == 2  # the updates are those in the store
    outputs = store.outputs()
    key = ["cell", "n_edits", "task", "index"]
    by_engine = [
        outputs[outputs["evaluation"].isin(before) == first].set_index(key)["output"] for first in (True, False)
    ]
    pd.testing.assert_series_equal(*(said.sort_index() for said in by_engine))
    said = by_engine[1].groupby("cell").agg(tuple)
    assert said.nunique() == 5, "unedited, and two methods under two regularizers, all say something else"


def test_what_fails_is_named_and_the_other_cells_go_on(
    easyeditor: environment.Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(easyeditor.package, tmp_path / "EasyEdit" / "easyeditor")
    source = tmp_path / "EasyEdit" / "easyeditor" / "models" / "lora" / "lora_main.py"
    begins = "    model.config.use_cache = False\n"
    assert begins in source.read_text()
    source.write_text(source.read_text().replace(begins, f"    __import__('os').abort()\n{begins}"))
    monkeypatch.setenv("EASYEDITOR_PATH", str(tmp_path / "EasyEdit"))
    llama = tmp_path / "llama-7b.yaml"
    llama.write_text("alg_name: FT\nmodel_name: llama-7b\nlayers: [21]\nrewrite_module_tmp: 'model.layers.{}.mlp'\n")
    methods: list[dict[str, Any]] = [
        {"name": "rome", "hparams": STEPS},
        {"name": "easyeditor:ROME", "hparams": {"layers": [1], "fact_token": "middle"}},
        {"name": "easyeditor:LoRA"},
        {"name": "easyeditor:FT", "hparams": str(llama)},
        {"name": "easyeditor:KN", "hparams": {"steps": 2}},
    ]
    config = small_config(
        save_tiny("llama", tmp_path / "model"),
        methods=methods,
        settings=[{"kind": "instance-sequential", "edits": 1}],
        regularizers=["none"],
        tasks={"names": ["nli"], "examples": 1},
    )
    plan, store = make_plan(config), Store(tmp_path / "out")
    with caplog.at_level(logging.ERROR):
        run_trials(EditingTrial, config, store)
    failed = {plan.cell(cell).method.name: reason for cell, reason in store.failures().items()}  # type: ignore[union-attr]
    assert not any("\n" in reason for reason in failed.values())
    raised, died, other = (failed.pop(f"easyeditor:{method}") for method in ("ROME", "LoRA", "FT"))
    assert failed == {}
    assert "easyeditor:ROME failed inside EasyEdit source" in raised
    assert "middle" in raised
    assert raised.endswith("other facts or hparams may do; its traceback is in the cell's log")
    assert "compute_u.py" in caplog.text  # that traceback
    assert "killed by signal 6" in died
    assert "layer 21 is not there" in other
    assert sorted(store.rows()["method"].unique()) == ["easyeditor:KN", "none", "rome"]
