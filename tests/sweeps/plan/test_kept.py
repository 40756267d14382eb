"""The plan that a run writes: what planning would give, without facts, task data, models or torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rect import fact_files
from sweeps.plan import kept, search, skipped
from sweeps.plan.outline import Outline
from sweeps.store.store import Store
from tests.sweeps.report.test_gather import finish, made
from tests.tiny import save_tiny

HEAVY = ("torch", "transformers", "ray", "vllm", "datasets")
ROOT = Path(__file__).resolve().parents[3]
SEARCH = {
    "search": {"regularizers": ["rect"], "k": [10, 20], "keep_at_least": 0.5},
    "settings": [{"kind": "batch-single", "batch_sizes": [2]}],
    "methods": [{"name": "memit", "hparams": {"mom2_adjustment": False}}],
}
OPTUNA = {"search": {"regularizers": ["rect"], "optuna": {"low": 10, "high": 50, "step": 10, "trials": 2}}}
METHODS = {"methods": ["rome", {"name": "memit", "hparams": {"mom2_adjustment": False}}]}


@pytest.mark.parametrize(
    "changes", [{}, SEARCH, OPTUNA, {**METHODS, "seeds": [0, 1]}], ids=["grid", "search", "optuna", "methods"]
)
def test_what_is_read_is_what_was_planned(changes: dict, tmp_path: Path) -> None:
    plan = made(changes)
    store = Store(tmp_path)
    kept.write(plan, store)
    read = kept.kept_plan(store)
    assert isinstance(read, Outline)
    for part in ("config", "cells", "candidates", "scanned", "kinds", "asked", "stopped", "tasks"):
        assert getattr(read, part) == getattr(plan, part), part
    for theirs, ours in zip((*read.cells, *read.candidates), (*plan.cells, *plan.candidates), strict=True):
        assert theirs.id == ours.id
        assert read.wanted(theirs) == plan.wanted(ours)
        wanted = [(one.id, one.before, one.state, one.seed) for one in plan.operations(ours, ours.checkpoints[-1])]
        found = read.operations(theirs, theirs.checkpoints[-1])
        assert [(one.id, one.before, one.state, one.seed) for one in found] == wanted
    assert bool(plan.scanned) == (changes == SEARCH)
    assert bool(plan.candidates) == (changes == OPTUNA)


def test_facts_of_a_model_that_skips_some_are_named_as_tables_call_it(tmp_path: Path) -> None:
    plan = made({"models": [{"name": "smollm2-135m", "label": "small"}]})
    first = plan.edited(plan.cells[1], 1)[0]
    kept.write(replace(plan, skipped={plan.config.models[0]: {plan.facts.index(first): "why"}}), Store(tmp_path))
    named = kept.kept_plan(Store(tmp_path)).named
    assert set(named) == {"0", "0 small"}
    assert named["0"][1:] == named["0 small"]


def test_what_a_search_has_picked_since_is_known(tmp_path: Path) -> None:
    plan, store = made(SEARCH), Store(tmp_path)
    kept.write(plan, store)
    search.pick(plan, store, [plan.cell(min(plan.scanned))])
    read, wanted = kept.kept_plan(store), search.decided(plan, store)
    assert [cell.id for cell in read.cells] == [cell.id for cell in wanted.cells]
    assert read.scanned == wanted.scanned != plan.scanned


@pytest.mark.parametrize("damage", ["absent", "of another configuration", "not JSON", "of another format"])
def test_without_a_plan_that_fits_it_is_made_anew(damage: str, tmp_path: Path) -> None:
    """As earlier versions left the folder, or a process that was killed between two files."""
    plan, store = made(), Store(tmp_path)
    kept.write(plan if damage == "absent" else made({"seeds": [7]}), store)
    store.folder.write("config.yaml", plan.config.as_yaml().encode())
    file = tmp_path / "plan.json"
    if damage == "absent":
        file.unlink()
    elif damage == "not JSON":
        file.write_text("{")
    elif damage == "of another format":
        file.write_text(json.dumps({**json.loads(file.read_text()), "format": 0}))
    assert [cell.id for cell in kept.kept_plan(store).cells] == [cell.id for cell in plan.cells]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep's folder, copied away from the facts that it was made with."""
    home, away = (tmp_path_factory.mktemp(name) for name in ("home", "away"))
    (home / "facts.json").write_text(json.dumps([fact.model_dump() for fact in fact_files.bundled()[:4]]))
    plan = made({"edits": {"source": str(home / "facts.json")}})
    store = Store(home / "out")
    store.begin()
    kept.write(plan, store)
    finish(plan, store)
    (home / "out").rename(away / "out")
    (home / "facts.json").unlink()
    return away / "out"


def said(words: list[str], heavy: tuple[str, ...] = HEAVY) -> str:
    """What a command that ends well says, in a process of its own that loads nothing heavy."""
    code = (
        "import sys, atexit; from sweeps.commands.app import main;"
        f"atexit.register(lambda: print('loaded', sorted(set({heavy!r}) & set(sys.modules))));"
        f"main({words!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "loaded []" in done.stdout
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "words", ["status DIR", "report DIR", "export DIR --what rows", "cache list DIR", "compare DIR DIR"]
)
def test_readers_need_neither_data_nor_torch(words: str, moved: Path) -> None:
    shown = said([str(moved) if word == "DIR" else word for word in words.split()])
    assert "all rows" not in shown  # it knew which are asked for


def test_status_asks_for_no_interval(moved: Path) -> None:
    said(["status", str(moved)], (*HEAVY, "scipy"))


def test_a_finished_sweep_is_run_again_without_torch(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    store.begin()
    plan = skipped.look(made({"models": [str(save_tiny("llama", tmp_path / "tiny"))]}), store)
    kept.write(plan, store)
    finish(plan, store)
    again = said(["run", str(tmp_path / "out" / "config.yaml"), "--out", str(tmp_path / "out")])
    assert f"{len(plan.cells)} cells done" in again


@pytest.mark.parametrize(
    "words",
    [
        *("plan configs/demo.yaml", "methods list", "tasks list", "models list", "--help"),
        "facts check rect/data/facts.jsonl",
    ],
)
def test_what_only_looks_needs_no_torch(words: str) -> None:
    said(words.split())
