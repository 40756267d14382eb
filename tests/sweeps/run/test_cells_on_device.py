"""Cells whose model lies on another device (`tests/pretended.py`), alone and in turns with the CPU."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from rect.corpus import Corpus
from rect.model import EditableModel
from rect.recipe import Recipe
from rect.update import LowRank, Update
from sweeps.config.config import Config
from sweeps.plan.identity import make_plan
from sweeps.run import covariance_shares
from sweeps.run.cell import CellRun
from sweeps.run.replay import check_state
from sweeps.run.workplace import Workplace
from sweeps.store import journal
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.pretended import DEVICE, held
from tests.sweeps.small import STEPS, computed, remembering, small_config, values
from tests.tiny import SENTENCES, save_tiny

BOUND = 1e-3
"""Relative, of a figure after three operations on other devices: each optimizes a value anew from where it stands."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def config(folder: Path) -> Config:
    """A method that remembers and one that does not; masks, and a regularizer that goes by earlier operations."""
    return small_config(
        folder,
        methods=[remembering("memit-history", folder), {"name": "rome", "hparams": STEPS}],
        settings=[
            {"kind": "instance-sequential", "edits": 2, "checkpoints": [1, 2]},
            {"kind": "batch-sequential", "edits": 3, "batch_sizes": [2], "checkpoints": [1, 3]},
        ],
        regularizers=[
            "none",
            {"name": "rect", "k": 40},
            {"name": "rect-feedback", "k": 40},
            {"name": "prune", "k": 50},
        ],
        tasks={"names": ["nli"], "examples": 1},
    )


def run(config: Config, out: Path, device: str, only_first_checkpoint: bool = False) -> Store:
    store, plan = Store(out), make_plan(config)
    with contextlib.closing(Journal(store.folder)) as log, Workplace(plan, store, log, device) as place:
        for cell in plan.cells:
            if missing := plan.missing(cell, store.done()):
                checkpoints = CellRun(place, cell, missing).checkpoints()
                next(checkpoints) if only_first_checkpoint else list(checkpoints)
                checkpoints.close()
    return store


def close(one: pd.Series, other: pd.Series) -> None:
    """The same figures, up to rounding; a share of elements may be one element off."""
    assert one.index.equals(other.index)
    off = (one - other).abs() > BOUND * other.abs() + 1e-3
    assert not off.any(), pd.DataFrame({"one": one, "other": other})[off]


@pytest.fixture(scope="module")
def stores(config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """The whole sweep on each device."""
    return {device: run(config, tmp_path_factory.mktemp(device), device) for device in (DEVICE, "cpu")}


def test_every_figure_is_that_of_the_cpu(stores: dict[str, Store]) -> None:
    assert computed(stores[DEVICE]) == computed(stores["cpu"])
    close(values(stores[DEVICE]), values(stores["cpu"]))


@pytest.mark.parametrize(("first", "then"), [(DEVICE, "cpu"), ("cpu", DEVICE)])
def test_a_sweep_goes_on_on_another_device(
    first: str, then: str, config: Config, stores: dict[str, Store], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was computed is not computed anew, and is replayed to the bit: it is multiplied out where it was stored."""
    run(config, tmp_path, first, only_first_checkpoint=True)
    before = computed(Store(tmp_path))
    with caplog.at_level(logging.WARNING, "sweeps.run.replay"):
        store = run(config, tmp_path, then)
    assert all(not make_plan(config).missing(cell, store.done()) for cell in make_plan(config).cells)
    assert computed(store)[: len(before)] == before
    assert sorted(computed(store)) == sorted(computed(stores[first]))
    close(values(store), values(stores[first]))
    assert not caplog.records


def test_a_replay_whose_products_are_rounded_there_is_let_through_and_told(
    stores: dict[str, Store], config: Config, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on another kind of CPU: the same stored updates, multiplied out with other rounding."""
    plan, states = make_plan(config), Store(tmp_path)
    cell = next(
        cell for cell in plan.cells if cell.method and cell.method.name == "memit-history" and cell.batch_size == 2
    )
    found = []
    for device in ("cpu", DEVICE):
        model = EditableModel.load(folder, DEVICE)
        for operation in plan.operations(cell, 3):
            update = stores["cpu"].update(operation.id)
            assert update is not None
            model.add(Update({n: LowRank(e.left.to(device), e.right.to(device)) for n, e in update.items()}))
            with caplog.at_level(logging.WARNING, "sweeps.run.replay"):
                check_state(states, operation.state, model)
        found.append(model.digest())
    assert found[0] != found[1]
    assert caplog.text.count("replayed with other rounding") == 3


def test_a_share_of_a_covariance_travels_on_the_cpu(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "sentences.txt"
    text.write_text("\n".join(SENTENCES), encoding="utf-8")
    recipe = Recipe(str(folder), Corpus(str(text)), tokens=100)
    there, here = (covariance_shares.share(recipe, [0, 1], 0, 1, device) for device in (DEVICE, "cpu"))
    assert there.tokens == here.tokens
    for layer, total in here.layers.items():
        assert (there.layers[layer] - total).norm() < 1e-5 * total.norm()


@pytest.fixture
def workplace(folder: Path, tmp_path: Path) -> Iterator[Workplace]:
    """With a model there that was edited and measured; only `close` collects garbage."""
    config = small_config(folder, regularizers=["none"], tasks={"names": ["nli"], "examples": 1})
    plan, store = make_plan(config), Store(tmp_path)
    gc.collect()
    gc.disable()
    with contextlib.closing(Journal(store.folder)) as log:
        place = Workplace(plan, store, log, DEVICE)
        cell = next(cell for cell in plan.cells if cell.method is not None)
        list(CellRun(place, cell, plan.missing(cell, store.done())).checkpoints())
        yield place
    gc.enable()


def test_memory_goes_back_when_a_workplace_closes(workplace: Workplace, caplog: pytest.LogCaptureFixture) -> None:
    """Also that of a model to which something refers that it refers to itself."""
    model = workplace.model(workplace.plan.cells[0].model)
    model.hf.watched_by, before = [model], held()
    size = sum(p.nbytes for p in model.hf.parameters())
    emptied = torch.get_device_module(DEVICE).emptied
    del model
    workplace.close()
    assert before - held() >= size
    assert torch.get_device_module(DEVICE).emptied == emptied + 1
    assert not caplog.records


def test_memory_that_does_not_come_back_is_told(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sweeps.run.workplace.SLACK", held() - 1)
    kept = workplace.model(workplace.plan.cells[0].model)
    workplace.close()
    assert "on pretended:0 are still in use after its model was closed" in caplog.text
    (event,) = [event for event in journal.events(workplace.store.folder) if event["event"] == "memory-left"]
    assert event["bytes"] >= sum(p.nbytes for p in kept.hf.parameters())
