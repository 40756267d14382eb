"""The model of what a sweep takes: rates measured on a small sweep, and what they say of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelfolder.errors import InputError
from sweeps.commands import app
from sweeps.plan import costs
from sweeps.plan.identity import make_plan
from sweeps.store import journal
from sweeps.store.store import Store
from tests.sweeps.small import small_config, sweep
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    found = sweep(
        small_config(folder, regularizers=["none", {"name": "rect", "k": 20}]), tmp_path_factory.mktemp("out")
    )
    costs.write(found)
    return found


def test_rates_are_what_the_journal_says(store: Store) -> None:
    rates = costs.read(store.url)
    assert rates == costs.read(f"{store.url}/rates.json") == costs.measure(store)
    took = [event["seconds"] for event in journal.events(store.folder) if event["event"] == "edit-computed"]
    assert rates.edit == pytest.approx(sum(took) / 5)  # three edits, two of them for each of two cells
    assert min(rates.operation, rates.checkpoint, rates.prompt, rates.start) > 0
    assert rates.update_bytes == pytest.approx(sum(store.folder.sizes("updates").values()) / 5)


def test_a_cost_counts_what_is_missing(folder: Path, store: Store, tmp_path: Path) -> None:
    rates = costs.Rates(edit=10, operation=1, checkpoint=2, prompt=0.5, start=100, update_bytes=7, checkpoint_bytes=3)
    config = small_config(folder, regularizers=["none", {"name": "rect", "k": [20, 60]}])
    empty = costs.estimate(make_plan(config), rates, Store(tmp_path))
    assert (empty.updates, empty.operations, empty.checkpoints) == (1 + 3 * 2, 3 * 3, 1 + 3 * 2)
    assert empty.prompts == 7 * (3 + 3)
    assert empty.hours * 3600 == pytest.approx(7 * 10 + 9 * 1 + 7 * 2 + 42 * 0.5 + 100)
    assert empty.bytes == 7 * 7 + 7 * 3
    rest = costs.estimate(make_plan(config), rates, store, workers=2)
    assert (rest.updates, rest.operations, rest.checkpoints) == (2, 3, 2)
    assert rest.hours * 3600 == pytest.approx(2 * 10 + 3 + 2 * 2 + 12 * 0.5 + 2 * 100)
    done = costs.estimate(make_plan(small_config(folder, regularizers=["none"])), rates, store)
    assert (done.hours, done.bytes) == (0, 0)


def test_a_cost_says_that_it_is_a_model(store: Store) -> None:
    rates = replace(costs.read(store.url), machine="a machine")
    lines = costs.told(costs.Cost(1, 2, 3, 4, 6.0, 5e6), rates, workers=3, price=1.5)
    assert "a model and no promise, from rates measured on a machine" in lines[0]
    assert "6.00 hours of one worker, 2.00 hours for 3 at a time; 5.0 MB" in lines[2]
    assert "9.00 at 1.5" in lines[3]


def test_what_is_no_rates_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there are no rates; a short run leaves some"):
        costs.read(tmp_path)
    (tmp_path / "rates.json").write_text("[]")
    with pytest.raises(InputError, match="not the rates of a run"):
        costs.read(tmp_path)


def test_plan_tells_the_cost(folder: Path, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(small_config(folder, regularizers=["none", {"name": "rect", "k": [20, 60]}]).as_yaml())
    given = ["plan", str(path), "--out", store.url, "--cost", store.url, "--price", "2", "--workers", "2"]
    result = CliRunner().invoke(app.app, given)
    assert result.exit_code == 0, result.output
    assert "cost, a model and no promise" in result.output
    assert (
        "2 updates to compute, 3 operations to apply, 2 checkpoints to measure, 12 prompts to answer" in result.output
    )
    assert "at 2 for an hour of a worker" in result.output
