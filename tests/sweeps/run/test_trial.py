"""A trial in this process, without Ray: what happens when a device's memory does not suffice."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from sweeps.config.config import Config
from sweeps.plan.identity import make_plan
from sweeps.run.job import Job
from sweeps.run.trial import EditingTrial
from sweeps.run.workplace import FRUGAL_TOKENS, Workplace
from sweeps.store import journal
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.sweeps.small import small_config, sweep, values
from tests.tiny import save_tiny


class Short(EditingTrial):
    """Runs out of memory, as torch says it, at the beginning of a cell: the first time, or always."""

    always = False

    def _take(self, cell: Any) -> None:
        super()._take(cell)
        if self.always or not self.place.frugal:
            self._checkpoints = self._short()

    def _short(self) -> Generator[dict[str, Any], None, None]:
        raise torch.OutOfMemoryError("so says the test")
        yield


class AlwaysShort(Short):
    """Smaller batches do not help."""

    always = True


def run_trials(kind: type[EditingTrial], config: Config, store: Store) -> list[dict[str, Any]]:
    """Run all cells with one trial's methods. Returns its last results."""
    plan = make_plan(config)
    trial = kind.__new__(kind)  # Tune's own part needs Tune
    trial.job, trial.store, trial.journal = Job(plan, store.url, "", {}, "", None), store, Journal(store.folder)
    last = []
    with Workplace(plan, store, trial.journal) as trial.place:
        for cell in plan.cells:
            trial._begin({"cell": {"id": cell.id}})
            result: dict[str, Any] = {"done": False}
            while not result["done"]:
                result = trial.step()
            last.append(result)
        if trial.place.frugal and trial.place._model is not None:
            assert trial.place._model.tokens_per_batch == FRUGAL_TOKENS
    return last


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(save_tiny("llama", tmp_path / "model"), regularizers=["none"])


def test_one_retry_with_smaller_batches(config: Config, tmp_path: Path) -> None:
    whole, store = sweep(config, tmp_path / "whole"), Store(tmp_path / "out")
    run_trials(Short, config, store)
    told = [event for event in journal.events(store.folder) if event["event"] == "out-of-memory"]
    assert len(told) == 1  # from then on batches are smaller
    pd.testing.assert_series_equal(values(store), values(whole), rtol=1e-6, atol=1e-6)
    assert store.failures() == {}


def test_a_cell_that_does_not_fit_has_failed_with_the_reason(config: Config, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    results = run_trials(AlwaysShort, config, store)
    reason = "OutOfMemoryError: so says the test"
    assert [result["failed"] for result in results] == [reason, reason]
    assert set(store.failures().values()) == {reason}
    assert not store.done()
