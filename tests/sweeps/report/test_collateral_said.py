"""Edits that destroy the model are told of wherever somebody looks: while a run goes on, in its report, by one edit."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from rect import editors, perplexity
from rect.facts import Fact
from rect.model import EditableModel
from sweeps.commands import edit
from sweeps.plan.identity import ABILITY, Plan, evaluation_of, make_plan
from sweeps.report import gather
from sweeps.results import collateral
from sweeps.run import progress
from sweeps.run.progress import Live, Tracker
from sweeps.store import schema
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.sweeps.small import small_config
from tests.tiny import save_tiny

NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture
def plan(folder: Path) -> Plan:
    return make_plan(small_config(folder))


def measured(plan: Plan, store: Store, after: float) -> None:
    """Perplexity of the unedited model, and of the unregularized edits at their first checkpoint."""
    evaluation = evaluation_of(ABILITY, plan.config.engine.dtype)
    unedited, edited = (next(c for c in plan.cells if (c.method is None) == one) for one in (True, False))
    assert edited.regularizer == "none"
    for cell, n_edits, value in ((unedited, 0, 33.0), (edited, 1, after)):
        shared: dict[str, Any] = {"cell": cell.id, "n_edits": n_edits, "engine": "e", "package_version": "0"}
        found = [schema.measurement("ability", "perplexity", value, n=9, evaluation=evaluation)]
        found += [schema.measurement("ability", "drift", 0.01, n=9, evaluation=evaluation)]
        store.write(cell.id, n_edits, schema.complete(found, {**shared, **cell.axes()}), [])
        Journal(store.folder).write("rows-written", cell=cell.id, n_edits=n_edits, evaluations=[evaluation], rows=2)
    store.folder.write("config.yaml", plan.config.as_yaml().encode())


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue()).split())


WHERE = ["status", "lines", "screen", "report"]


def seen(where: str, plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is shown in one place."""
    console = Console(file=io.StringIO(), width=1000, force_terminal=where == "screen")
    if where == "status":
        console.print(progress.render(progress.status(store.url)))
    elif where == "report":
        gather.report(store.url, console)
    else:
        looked = []
        real = Tracker.snapshot
        monkeypatch.setattr(Tracker, "snapshot", lambda tracker: looked.append(1) or real(tracker))
        with Live(plan, store, console) as live:
            live._every = 0.01
            while len(looked) < 4:
                pass
    return printed(console)


@pytest.mark.parametrize("where", WHERE)
def test_it_is_said_where_somebody_looks(
    where: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    measured(plan, store, 188.0)
    [line] = collateral.found(store.rows())
    text = seen(where, plan, store, monkeypatch)
    if where == "screen":  # drawn anew each time
        assert line in text
    else:
        assert text.count(line) == 1


@pytest.mark.parametrize("where", WHERE)
def test_nothing_is_said_of_healthy_edits(
    where: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    measured(plan, store, 33.2)
    assert "not the regularizer" not in seen(where, plan, store, monkeypatch)


def test_rows_that_come_later_are_told_of(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    tracker = Tracker(plan, store)
    assert tracker.snapshot().collateral == ()
    measured(plan, store, 188.0)
    assert len(tracker.snapshot().collateral) == 1


@pytest.mark.parametrize(("rate", "destroys"), [(0.5, True), (1e-6, False)])
def test_one_edit_says_it_of_itself(rate: float, destroys: bool, folder: Path, tmp_path: Path) -> None:
    """Whether it does is measured here once more, without the command."""
    hparams = tmp_path / "rome.yaml"
    hparams.write_text(
        f"layers: [0]\nv_num_grad_steps: 20\nv_lr: {rate}\nclamp_norm_factor: 50\nmom2_adjustment: false\n"
    )
    folder = _sure_of_itself(folder, tmp_path / "model")
    model = EditableModel.load(str(folder), device="cpu")
    fact = Fact(subject="France", prompt="The capital of {} is", target="the Moon")
    update = editors.create("rome", model, hparams).compute(model, [fact])
    before, _ = perplexity.perplexity(model, perplexity.neutral_paragraphs())
    with model.edited(update):
        after, _ = perplexity.perplexity(model, perplexity.neutral_paragraphs())
    assert (after > 1.11 * before) == destroys
    request = edit.Request(
        fact.subject, fact.prompt, fact.target, str(folder), hparams=hparams, new_tokens=1, device="cpu"
    )
    console = Console(file=io.StringIO(), width=1000)
    edit.edit(request, console)
    text = printed(console)
    assert ("unregularized. The setting is at fault, not the regularizer" in text) == destroys
    assert (f"{folder}, rome, layers 0: perplexity {before:.3g} to {after:.3g}" in text) == destroys
    assert f"perplexity of neutral text {before:.4g} {after:.4g}" in text


def _sure_of_itself(folder: Path, other: Path) -> Path:
    """A copy with larger logits: a random model says nearly the same of every token, edited or not."""
    shutil.copytree(folder, other)
    weights = load_file(other / "model.safetensors")
    save_file({**weights, NORM: weights[NORM] * 30}, other / "model.safetensors", metadata={"format": "pt"})
    return other
