"""A covariance is computed and prefixes are drawn once in a sweep; others wait, or find them in the folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rect import covariance
from rect.covariance import Covariance
from rect.model import EditableModel
from rect.prefixes import Prefixes
from sweeps.plan.identity import covariance_recipe, make_plan
from sweeps.run.cell import CellRun
from sweeps.run.workplace import Workplace
from sweeps.store import journal
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.sweeps.small import remembering, small_config
from tests.tiny import save_tiny


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    folder = save_tiny("llama", tmp_path / "model")
    setting = {"kind": "batch-sequential", "edits": 1, "batch_sizes": [1]}
    methods, tasks = [remembering("memit-history", folder)], {"names": ["nli"], "examples": 1}
    return make_plan(small_config(folder, methods=methods, settings=[setting], tasks=tasks, regularizers=["none"]))


def run(plan: Any, out: Path, **how: Any) -> list[dict[str, Any]]:
    """Run what is missing; the covariances that were computed in the folder's time, and in which process' log."""
    store = Store(out)
    log = Journal(store.folder)
    with Workplace(plan, store, log, **how) as place:
        for cell in plan.cells:
            if missing := plan.missing(cell, store.done()):
                list(CellRun(place, cell, missing).checkpoints())
    log.close()
    return [event for event in journal.events(store.folder) if event["event"] == "covariance-computed"]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def at(name: str) -> Path:
        monkeypatch.setenv("RECT_SWEEPS_CACHE", str(tmp_path / name))
        return tmp_path / name

    return at


def test_a_second_node_finds_what_the_first_has_computed(plan: Any, node: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = node("first")
    assert [event["layers"] for event in run(plan, out, shared=True)] == [[0, 1]]
    shutil.rmtree(out / "rows")  # everything is to be measured again, and the update to be made again
    shutil.rmtree(out / "updates")
    second = node("second")
    assert len(run(plan, out, shared=True)) == 1
    [mine] = (first / "covariance").iterdir()
    theirs = second / "covariance" / mine.name
    found = [Covariance.load(folder) for folder in (mine, theirs, out / "covariance" / mine.name)]
    assert all(torch.equal(found[0].matrix(layer), one.matrix(layer)) for one in found[1:] for layer in (0, 1))


def test_one_node_leaves_none_in_the_folder_and_one_that_has_it_gives_it_to_others(
    plan: Any, node: Any, tmp_path: Path
) -> None:
    node("here")
    assert len(run(plan, tmp_path / "alone")) == 1
    assert not (tmp_path / "alone" / "covariance").exists()
    assert run(plan, tmp_path / "together", shared=True) == []
    node("there")
    shutil.rmtree(tmp_path / "together" / "rows")
    assert run(plan, tmp_path / "together", shared=True) == []


def test_who_waited_computes_nothing(plan: Any, node: Any, tmp_path: Path) -> None:
    node("here")
    asked: list[str] = []

    @contextmanager
    def after_another(what: str, cell: str) -> Iterator[None]:
        """As if another worker of this node had held the claim until now."""
        asked.append(what)
        if what.startswith("covariance/"):
            spec, method = plan.config.models[0], plan.config.methods[0]
            recipe = covariance_recipe(spec, method, plan.contents[spec])
            covariance.ensure(EditableModel.load(spec.name), recipe, [0, 1])
        yield

    assert run(plan, tmp_path / "out", alone=after_another) == []
    kinds = [what.partition("/")[0] for what in asked if "/" in what]
    assert sorted(kinds) == ["covariance", "prefixes"]


def test_prefixes_that_another_worker_drew_meanwhile_are_taken(
    plan: Any, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node("here")
    run(plan, tmp_path / "first")
    [drawn] = (tmp_path / "first" / "prefixes").iterdir()
    other = drawn.read_text().replace("{}", "Meanwhile. {}", 1)

    @contextmanager
    def after_another(what: str, cell: str) -> Iterator[None]:
        if what.startswith("prefixes/"):
            Store(tmp_path / "second").folder.write(what, other.encode())
        yield

    monkeypatch.setattr(Prefixes, "sample", lambda *_: pytest.fail("drawn once more"))
    run(plan, tmp_path / "second", alone=after_another)
    assert (tmp_path / "second" / "prefixes" / drawn.name).read_text() == other
