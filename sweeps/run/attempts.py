"""Which attempts count against `max_failures`: those that died without getting any further than the ones before.

A machine of the spot market goes when it goes, and takes trials with it that were doing well. A third such loss would
fail a cell for good, though each attempt had finished edits that the next one took from the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ray import tune

from sweeps.store.folder import Folder
from sweeps.store.journal import Reader

log = logging.getLogger(__name__)

FURTHER = ("edit-computed", "edit-loaded", "rows-written")


class OnlyWithoutProgress(tune.Callback):
    """Takes back the count of failures of a trial that has got further since its last one.

    Further is an operation whose update it had neither computed nor loaded before, or rows of a checkpoint. Nodes that
    Ray knows to be preempted are not counted by Ray itself. With `max_failures: 0` nothing is started again.

    Args:
        folder: of the sweep, whose journals say what was done.
        cells_of: the ids of a trial's cells, from its parameters.
    """

    def __init__(self, folder: Folder, cells_of: Callable[[Mapping[str, Any]], Iterable[str]]) -> None:
        self._reader = Reader(folder)
        self._cells_of = cells_of
        self._steps: dict[str, set[tuple[Any, ...]]] = {}  # per cell
        self._reached: dict[str, int] = {}  # per trial: steps of its cells at its last failure
        self._read()
        self._at_first = {cell: len(steps) for cell, steps in self._steps.items()}  # in earlier runs

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._read()
        cells = list(self._cells_of(trial.config))
        before = self._reached.get(trial.trial_id, sum(self._at_first.get(cell, 0) for cell in cells))
        self._reached[trial.trial_id] = sum(len(self._steps.get(cell, ())) for cell in cells)
        if self._reached[trial.trial_id] > before:
            log.info("trial %s died, having got further than before: not counted", trial.trial_id)
            trial.run_metadata.num_failures = 0
            trial.run_metadata.invalidate_cache()

    def _read(self) -> None:
        for event in self._reader.new():
            if event["event"] in FURTHER:
                step = event.get("operation"), event["n_edits"], *event.get("evaluations", ())
                self._steps.setdefault(event["cell"], set()).add(step)
