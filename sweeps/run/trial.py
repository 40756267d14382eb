"""A cell as a Ray Tune trial: one checkpoint per step; the actor keeps model and engine for the next cell."""

from __future__ import annotations

import logging
from typing import Any

import ray
import torch
from ray import tune

from modelfolder.errors import InputError
from rect.update import UpdateError
from sweeps.plan.grid import Cell
from sweeps.run import cluster
from sweeps.run.cell import CellRun
from sweeps.run.claims import Claims
from sweeps.run.job import Job
from sweeps.run.workplace import Workplace
from sweeps.store.journal import Journal
from sweeps.store.store import Store, StoreError

log = logging.getLogger(__name__)

HOPELESS = (InputError, UpdateError, StoreError, torch.OutOfMemoryError)
"""Errors that a second attempt would meet again: the cell is recorded as failed and the actor goes on to the next."""

SHOWN = 3  # failed tasks that a reason names


class EditingTrial(tune.Trainable):
    """Runs the cell that `config["cell"]["id"]` names. What it finds out lies in the store; Tune sees a few figures."""

    def setup(self, config: dict[str, Any], job: Job | None = None) -> None:
        """Once per worker process. `job` comes from `tune.with_parameters`."""
        assert job is not None
        cluster.hide_devices(ray.get_runtime_context().get_accelerator_ids().get("GPU", []))
        self.job = job
        self.store = Store(job.url)
        if not self.store.folder.exists(job.token):
            raise InputError(
                f"--out {job.url}: this node does not see what the driver wrote there; name a shared folder"
            )
        self.journal = Journal(self.store.folder)
        self.place = Workplace(
            job.plan,
            self.store,
            self.journal,
            environment=job.environment,
            alone=Claims(job.register),
            shared=sum(node["Alive"] for node in ray.nodes()) > 1,
        )
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next cell. Always True: False is an error in Tune, not a request for another actor."""
        self._checkpoints.close()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._take(self.job.plan.cell(config["cell"]["id"]))

    def _take(self, cell: Cell) -> None:
        """Begin with a cell."""
        self.cell = cell
        done = self.store.done(cell.id)  # an earlier attempt may have committed some checkpoints
        missing = self.job.plan.missing(cell, done)
        known = self.job.missing.get(cell.id, missing)
        self.missing = {n: known[n] & ids for n, ids in missing.items() if n in known}
        self._checkpoints = CellRun(self.place, self.cell, self.missing).checkpoints()
        self.steps = 0
        self.failed_tasks: list[str] = []
        self.journal.write("cell-started", cell=self.cell.id, checkpoints=sorted(self.missing))

    def step(self) -> dict[str, Any]:
        """Go on to the next checkpoint."""
        try:
            result = self._next()
        except HOPELESS as error:
            reason = f"{type(error).__name__}: {error}"
            log.exception("%s failed", self.cell)
            self.store.fail(self.cell.id, reason, str(self.cell))
            self.journal.write("cell-failed", cell=self.cell.id, reason=reason)
            return {"done": True, "failed": reason}
        self.steps += 1
        failed = result.pop("failed_tasks", {})
        self.failed_tasks += [f"{task} at {result['n_edits']} edits ({why})" for task, why in failed.items()]
        done = self.steps >= len(self.missing) or "stopped" in result
        if done:
            self._checkpoints.close()
            result |= self._end()
        return {"done": done, **result}

    def _end(self) -> dict[str, str]:
        """Note how a cell ended that has gone its whole way: done, or failed for the tasks that are missing."""
        if not self.failed_tasks:
            self.store.forget_failure(self.cell.id)
            self.journal.write("cell-done", cell=self.cell.id)
            return {}
        more = f"; and {len(self.failed_tasks) - SHOWN} more" if len(self.failed_tasks) > SHOWN else ""
        reason = f"tasks failed, all else is kept: {'; '.join(self.failed_tasks[:SHOWN])}{more}"
        self.store.fail(self.cell.id, reason, str(self.cell), again=True)
        self.journal.write("cell-failed", cell=self.cell.id, reason=reason)
        return {"failed": reason}

    def _next(self) -> dict[str, Any]:
        """The next checkpoint; where a device's memory does not suffice, once more with smaller batches."""
        try:
            return next(self._checkpoints, {})
        except torch.OutOfMemoryError as error:
            if self.place.frugal:
                raise
            self.journal.write("out-of-memory", cell=self.cell.id, reason=str(error))
        self._checkpoints.close()
        self.place.save_memory()
        self._take(self.cell)
        return next(self._checkpoints, {})

    def cleanup(self) -> None:
        self._checkpoints.close()
        self.place.close()
        self.journal.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: every finished checkpoint is in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load: `setup` finds what is missing."""
