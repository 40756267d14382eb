"""What one should know of a sweep is said once: by plan, in the log of a run, on the page."""

from __future__ import annotations

import html
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rect.editors import create, hyperparameters
from rect.editors.rome import RomeHparams
from rect.model import EditableModel
from sweeps.commands import show_plan
from sweeps.plan import kept, remarks
from sweeps.plan.identity import make_plan
from sweeps.report import gather
from sweeps.run import driver
from sweeps.store.store import Store
from tests.sweeps.small import run_here, small_config
from tests.tiny import save_tiny

ODD: dict[str, Any] = {
    "regularizers": ["none"],
    "settings": [{"kind": "instance-sequential", "edits": 2, "checkpoints": [2]}],
    "tasks": {"names": ["nli"], "examples": 1},
    "edits": {"source": "bundled", "count": 1},
    "engine": {"name": "transformers", "max_model_len": 256, "dtype": "bfloat16"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


def test_everything_is_said_once_in_every_place(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = small_config(folder, **ODD)
    plan = make_plan(config)
    lines = remarks.of(plan)
    assert [line for line in lines if "untested" in line] == [
        f"no rome hyperparameters are known for {folder}: defaults by relative depth (layers), untested"
    ]
    assert [line for line in lines if "engine.dtype" in line] == [
        f"{folder} is edited in float32, and answers tasks in bfloat16 (engine.dtype): edit metrics and perplexity are "
        "taken on weights rounded to bfloat16"
    ]
    assert sum("they repeat" in line for line in lines) == 1
    assert len(lines) == len(set(lines)) == 3
    with caplog.at_level(logging.WARNING):
        run_here(plan, Store(tmp_path))
        assert "untested" not in caplog.text, "a worker says nothing of what the driver has said"
        driver.run(config, tmp_path)  # nothing is left to do, so that Ray is not asked for
    assert [record.getMessage() for record in caplog.records if record.name == "sweeps.run.driver"] == lines
    screen = io.StringIO()
    show_plan.show(config, str(tmp_path), Console(file=screen, width=200))
    gather.report(tmp_path, Console(file=io.StringIO()))
    page = html.unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    for line in lines:
        assert screen.getvalue().count(f"note {line}\n") == 1
        assert page.count(f"<li>{line}</li>") == 1


def test_two_methods_with_the_same_remark_say_it_once(folder: Path) -> None:
    methods = [{"name": "rome", "hparams": {"v_num_grad_steps": n}, "label": f"rome-{n}"} for n in (3, 4)]
    lines = remarks.of(make_plan(small_config(folder, **{**ODD, "methods": methods})))
    assert sum("untested" in line for line in lines) == 1


def test_what_is_known_of_hyperparameters(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert hyperparameters.remark(RomeHparams, None, "smollm2-135m") == ""
    assert hyperparameters.remark(RomeHparams, {"layers": [1]}, "nobody's") == ""
    line = hyperparameters.remark(RomeHparams, {"v_lr": 0.1}, "gpt2-xl")
    assert line.startswith("rome hyperparameters for gpt2-xl: untested here; their source: ")
    file = tmp_path / "rome.yaml"
    file.write_text(yaml.safe_dump({"layers": [0], "fp16": True, "mom2_adjustment": False}))
    line = hyperparameters.remark(RomeHparams, file, "nobody's")
    assert line == f"{file}: fp16: true is not applied: the model's dtype is chosen where it is loaded"
    model = EditableModel.load(str(folder), "cpu")
    with caplog.at_level(logging.WARNING):
        create("rome", model, {"mom2_adjustment": False}, prefixes=["{}"])
        create("rome", model, file, prefixes=["{}"])
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith("defaults by relative depth (layers [0]), untested")
    assert second == line


def test_records_that_are_no_facts_are_counted_and_named(folder: Path, tmp_path: Path) -> None:
    good = {
        "subject": "Ada",
        "src": "Where was Ada born?",
        "alt": "Rome",
        "answers": ["London"],
        "rephrase": "Ada's place",
    }
    good |= {"loc": "nq question: who is it", "loc_ans": "it"}
    file = tmp_path / "zsre.json"
    file.write_text(json.dumps([good, {**good, "alt": ""}, {**good, "subject": "Ada", "alt": "Bonn"}], indent=1))
    plan = make_plan(small_config(folder, **{**ODD, "edits": {"source": str(file), "format": "zsre", "count": 2}}))
    said = f"facts: {file}: 1 of 3 records skipped: line 13 (target is empty)"
    assert said in remarks.of(plan)
    store = Store(tmp_path / "out")
    kept.write(plan, store)
    assert said in kept.kept_plan(store).remarks
