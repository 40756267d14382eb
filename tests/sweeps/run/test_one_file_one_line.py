"""A method, a regularizer and a metric of one's own: each a file in its folder and a line in its registry, no more."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from rect import editors, metrics, regularizers
from sweeps.plan.identity import make_plan
from sweeps.results.tradeoff import tradeoff
from sweeps.store import journal
from sweeps.store.store import Store
from tests.sweeps.small import run_here, small_config
from tests.tiny import save_tiny

METHOD = """
import torch

from rect.editors.base import Editor
from rect.editors.hyperparameters import Hparams
from rect.update import Dense, Update


class NudgeHparams(Hparams):
    method = "nudge"
    size: float = 0.01

    @classmethod
    def by_depth(cls, n_layers):
        return {}


class Nudge(Editor):
    name, version, batch, hparams_class = "nudge", "1", True, NudgeHparams

    def _compute(self, model, facts, history):
        name = model.mlp_out_name(0)
        return Update({name: Dense(torch.full_like(model.weight(name), self.hparams.size))})
"""
REGULARIZER = """
from rect.regularizers.base import with_provenance
from rect.update import Dense


def shrunk(update, model, k=100, seed=0):
    entries = {name: Dense(update.dense(name) * k / 100) for name in update}
    return with_provenance(entries, update, "shrunk", k, seed)
"""
METRIC = """
from rect.evaluation import EditScores


def evaluate(model, facts):
    return EditScores({"brevity/words": tuple(1 / len(fact.target.split()) for fact in facts)})
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, name, text in (
        (editors, "nudge", METHOD), (regularizers, "shrunk", REGULARIZER), (metrics, "brevity", METRIC),
    ):  # fmt: skip
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    importlib.invalidate_caches()
    monkeypatch.setitem(editors.EDITORS, "nudge", importlib.import_module("rect.editors.nudge").Nudge)
    monkeypatch.setitem(regularizers.REGULARIZERS, "shrunk", regularizers.Regularizer("shrunk:shrunk", "1"))
    monkeypatch.setitem(metrics.METRICS, "brevity", metrics.Metric("brevity:evaluate", "1"))


@pytest.mark.usefixtures("own")
def test_they_run_in_a_sweep_like_the_others(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "model")
    config = small_config(
        folder,
        methods=["nudge"],
        regularizers=["none", {"name": "shrunk", "k": 50}],
        metrics=["brevity"],
        tasks={"names": []},
    )
    store = Store(tmp_path / "out")
    run_here(make_plan(config), store)
    table = tradeoff(store.rows()).set_index("regularizer")
    assert table.loc["shrunk", "method"] == "nudge"
    assert 0 < table.loc["shrunk", "brevity_words"] <= 1
    rows = store.rows()
    moved = rows[(rows["kind"] == "weights") & rows["name"].str.endswith("/manhattan") & (rows["n_edits"] == 3)]
    by = moved.set_index("regularizer")["value"]
    assert by["shrunk"] == pytest.approx(by["none"] / 2)


def test_a_metric_added_to_a_finished_sweep_computes_nothing_else_anew(tmp_path: Path) -> None:
    folder, store = save_tiny("llama", tmp_path / "model"), Store(tmp_path / "out")
    run_here(make_plan(small_config(folder)), store)
    before = store.rows()
    updates = {name: store.folder.read(name) for name in store.folder.names("updates")}
    plan = make_plan(small_config(folder, metrics=["counterfact"]))
    missing = {name for cell in plan.cells for one in plan.missing(cell, store.done()).values() for name in one}
    assert missing == {plan.kinds["metric counterfact"]}
    run_here(plan, store)
    after = store.rows()
    added = after[~after.set_index(["cell", "n_edits", "evaluation", "kind", "name", "pass"]).index.isin(
        before.set_index(["cell", "n_edits", "evaluation", "kind", "name", "pass"]).index
    )]  # fmt: skip
    assert set(added["kind"]) == {"edit", "time"}
    names = {name.split("/")[0] for name in added.loc[added["kind"] == "edit", "name"]}
    assert names == {"efficacy", "paraphrase"}  # the bundled facts have no neighborhood prompts
    assert {name: store.folder.read(name) for name in store.folder.names("updates")} == updates
    table = tradeoff(after)
    assert table.loc[table["method"] == "rome", "efficacy_success"].between(0, 1).all()


@pytest.mark.usefixtures("own")
def test_a_metric_that_fails_costs_its_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rect.metrics" / "broken.py").write_text("def evaluate(model, facts):\n    return 1 / 0\n")
    monkeypatch.setitem(metrics.METRICS, "broken", metrics.Metric("broken:evaluate", "1"))
    config = small_config(save_tiny("llama", tmp_path / "model"), metrics=["broken", "brevity"])
    plan, store = make_plan(config), Store(tmp_path / "out")
    run_here(plan, store)
    left = [plan.missing(cell, store.done()) for cell in plan.cells if cell.method is not None]
    assert all(set(one) == {1, 3} for one in left)
    assert {name for one in left for names in one.values() for name in names} == {plan.kinds["metric broken"]}
    reasons = [event["reason"] for event in journal.events(store.folder) if event["event"] == "task-failed"]
    assert set(reasons) == {"ZeroDivisionError: division by zero"}
