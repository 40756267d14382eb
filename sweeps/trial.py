"""A cell as a Ray Tune trial: one checkpoint per step; the actor keeps model and engine for the next cell."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.actor import ActorHandle

from rect.errors import InputError
from rect.update import UpdateError
from sweeps.claims import Claims
from sweeps.grid import Cell
from sweeps.identity import Plan
from sweeps.journal import Journal
from sweeps.sequence import CellRun, Missing
from sweeps.store import Store, StoreError
from sweeps.workplace import Workplace
from tasks.errors import InputError as TaskInputError

log = logging.getLogger(__name__)

HOPELESS = (InputError, TaskInputError, UpdateError, StoreError)
"""Errors that a second attempt would meet again: the cell is recorded as failed and the actor goes on to the next."""


@dataclass(frozen=True)
class Job:
    """What all trials of a run share; it goes to each worker once.

    Attributes:
        plan: the sweep.
        url: its output folder.
        token: a file in it that the driver wrote; where it is not seen, the folder is not shared with that node.
        missing: per cell what was missing when the run began.
        register: of the operations that are being computed, see `sweeps.claims`.
    """

    plan: Plan
    url: str
    token: str
    missing: Mapping[str, Missing]
    register: ActorHandle[Any]


class EditingTrial(tune.Trainable):
    """Runs the cell that `config["cell"]["id"]` names. What it finds out lies in the store; Tune sees a few figures."""

    def setup(self, config: dict[str, Any], job: Job | None = None) -> None:
        """Once per worker process. `job` comes from `tune.with_parameters`."""
        assert job is not None
        self.job = job
        self.store = Store(job.url)
        if not self.store.folder.exists(job.token):
            raise InputError(
                f"--out {job.url}: this node does not see what the driver wrote there; name a shared folder"
            )
        self.journal = Journal(self.store.folder)
        self.place = Workplace(job.plan, self.store, self.journal, alone=Claims(job.register))
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next cell. Always True: False is an error in Tune, not a request for another actor."""
        self._checkpoints.close()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        plan = self.job.plan
        self.cell: Cell = plan.cell(config["cell"]["id"])
        done = self.store.done(self.cell.id)  # an earlier attempt may have committed some checkpoints
        known = self.job.missing[self.cell.id]
        self.missing = {n: known[n] & ids for n, ids in plan.missing(self.cell, done).items() if n in known}
        self._checkpoints = CellRun(self.place, self.cell, self.missing).checkpoints()
        self.steps = 0
        self.journal.write("cell-started", cell=self.cell.id, checkpoints=sorted(self.missing))

    def step(self) -> dict[str, Any]:
        """Go on to the next checkpoint."""
        try:
            result = next(self._checkpoints, {})
        except HOPELESS as error:
            reason = f"{type(error).__name__}: {error}"
            log.exception("%s failed", self.cell)
            self.store.fail(self.cell.id, reason, str(self.cell))
            self.journal.write("cell-failed", cell=self.cell.id, reason=reason)
            return {"done": True, "failed": reason}
        self.steps += 1
        done = self.steps >= len(self.missing)
        if done:
            self._checkpoints.close()
            self.store.forget_failure(self.cell.id)
            self.journal.write("cell-done", cell=self.cell.id)
        return {"done": done, **result}

    def cleanup(self) -> None:
        self._checkpoints.close()
        self.place.close()
        self.journal.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: every finished checkpoint is in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load: `setup` finds what is missing."""
