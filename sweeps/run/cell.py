"""One cell, from the unedited model to its last checkpoint: edit, regularize, measure, commit. Knows nothing of Ray."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from typing import Any

import torch

from rect import queries, regularizers
from rect.covariance import Covariance
from rect.history import History
from rect.model import EditableModel
from rect.update import Dense, Update
from sweeps.plan.grid import Cell
from sweeps.plan.identity import ABILITY, EDIT, WEIGHTS, Operation
from sweeps.plan.outline import metric_kind
from sweeps.run import answering, measure
from sweeps.run.answering import Answering
from sweeps.run.job import Missing
from sweeps.run.replay import check_state
from sweeps.run.stopping import Stopper
from sweeps.run.workplace import Workplace
from sweeps.store.schema import Row, measurement

log = logging.getLogger(__name__)


class CellRun:
    """A cell at work.

    Args:
        place: where model and engine are.
        cell: what to run.
        missing: evaluations to make at each checkpoint; what is not in it is neither measured nor written.
    """

    def __init__(self, place: Workplace, cell: Cell, missing: Missing) -> None:
        self.place = place
        self.cell = cell
        self.missing = missing
        self.names = place.plan.wanted(cell)
        self._stopper = Stopper.of(place.plan.config.stop, cell, place.store)
        self._stops: set[int] = set()  # checkpoints of which a row says that the cell ends there
        self._shares: list[dict[str, dict[str, float]]] = []  # per operation, per matrix
        self._regularizer = regularizers.get(cell.regularizer)
        self._k = 100 if cell.k is None else cell.k
        self._history = History()  # of the operations so far
        self._seed = 0  # of a mask at checkpoints
        self._editing = 0.0  # seconds of computing updates since the last checkpoint; waiting for others is not in it

    def checkpoints(self) -> Generator[dict[str, Any], None, None]:
        """Go from checkpoint to checkpoint; each is in the store when its summary comes out.

        Yields:
            {"n_edits": operations so far, "reliability": ..., "score": mean task score}, as far as measured;
            "stopped": the rule, where the configuration ends the cell there; "failed_tasks": {task: why}.

        Raises:
            UpdateError: an update holds NaN or infinity.
            StoreError: a replayed update leads to other weights than it did.
        """
        cell, plan = self.cell, self.place.plan
        if not self.missing:
            return
        wanted = {one for ids in self.missing.values() for one in ids}
        self._stage(0, "loading the model")
        model = self.place.model(cell.model, generates=bool(plan.of_engine() & wanted))
        facts = plan.edited(cell, max(self.missing))
        self._stage(0, "preparing")
        if cell.method is not None:
            self.place.editor(cell.method)
        with measure.in_dtype(model, plan.config.engine.dtype):
            self.place.unedited.remember(model, facts)
        operations = list(plan.operations(cell, max(self.missing)))
        self._seed = operations[0].seed if operations else 0
        at = 0
        try:
            for n_edits in sorted(self.missing):
                spent = self._advance(model, operations[at:n_edits], at)
                at = n_edits
                with self._at_checkpoint(model):
                    summary = self._measure(model, n_edits, spent)
                yield summary
                if "stopped" in summary:
                    break
        finally:
            model.restore()

    def _advance(self, model: EditableModel, operations: Sequence[Operation], at: int) -> list[Row]:
        """Apply operations in turn. Returns what they took."""
        self._editing = regularizing = 0.0
        loaded = 0
        for index, operation in enumerate(operations, start=at + 1):
            raw, from_store = self._update(model, operation, index)
            loaded += from_store
            began = time.perf_counter()
            kept = self._regularized(raw, model, operation)
            model.add(kept)
            self._history = self._history.after(kept)
            regularizing += time.perf_counter() - began
            check_state(self.place.store, operation.state, model)
        if not operations:
            return []
        n = len(operations)
        return [
            measurement("time", "editing_seconds", self._editing, n=n),
            measurement("time", "regularizing_seconds", regularizing, n=n),
            measurement("time", "from_store", loaded / n, n=n),
        ]

    def _update(self, model: EditableModel, operation: Operation, index: int) -> tuple[Update, bool]:
        """The raw update, from the store if it is there, and whether it was."""
        about = {"cell": self.cell.id, "operation": operation.id, "n_edits": index}
        update = self._stored(about)
        if update is not None:
            return update, True
        self.place.journal.write("edit-wanted", **about)
        with self.place.alone(operation.id, self.cell.id):
            update = self._stored(about)  # another worker may have been at it
            return (update, True) if update is not None else (self._computed(model, operation, about), False)

    def _stored(self, about: Mapping[str, Any]) -> Update | None:
        began = time.perf_counter()
        update = self.place.store.update(about["operation"])
        if update is not None:
            self.place.journal.write("edit-loaded", **about, seconds=round(time.perf_counter() - began, 3))
        return update

    def _computed(self, model: EditableModel, operation: Operation, about: Mapping[str, Any]) -> Update:
        assert self.cell.method is not None
        editor, place = self.place.editor(self.cell.method), self.place
        began, waited = time.perf_counter(), place.waited
        place.journal.write("edit-started", **about)
        update = editor.compute(model, list(operation.facts), self._history)
        kept = place.store.put_update(operation.id, update)
        seconds = time.perf_counter() - began - (place.waited - waited)
        self._editing += seconds
        place.journal.write("edit-computed", **about, seconds=round(seconds, 3))
        return kept

    def _regularized(self, raw: Update, model: EditableModel, operation: Operation) -> Update:
        if self._regularizer.when == "checkpoint":
            return raw
        kept = self._regularizer(raw, self._informed(model), self._k, operation.seed, self._history)
        self._shares.append(regularizers.shares(raw, kept))
        return kept

    @contextlib.contextmanager
    def _at_checkpoint(self, model: EditableModel) -> Iterator[None]:
        """Within it the model is as its regularizer leaves all edits together, if it is one of checkpoints."""
        if self.cell.method is None or self._regularizer.when == "operation":
            yield
            return
        seed = self._seed  # one mask for all checkpoints
        made, kept = regularizers.at_checkpoint(self._regularizer, model, self._informed(model), self._k, seed)
        self._shares = [regularizers.shares(made, kept)]
        off = Update({name: Dense(kept.dense(name) - made.dense(name)) for name in made})
        with model.edited(off):
            yield

    def _informed(self, model: EditableModel) -> regularizers.Weights:
        """The model, with the covariance of keys where the method has one."""
        covariance = self._covariance()
        return model if covariance is None else regularizers.WithCovariance(model, covariance)

    def _covariance(self) -> Covariance | None:
        """Of keys, where the method has one."""
        return getattr(self.place.editor(self.cell.method), "covariance", None) if self.cell.method else None

    def _measure(self, model: EditableModel, n_edits: int, spent: list[Row]) -> dict[str, Any]:
        """Make the missing evaluations of a checkpoint; each is committed before the next one can fail."""
        place, wanted = self.place, self.missing[n_edits]
        kinds = {self.names[one]: one for one in wanted}
        rows: list[Row] = list(spent)
        with measure.in_dtype(model, place.plan.config.engine.dtype), queries.once(model):
            if EDIT in kinds:
                self._stage(n_edits, "edit metrics")
                rows += measure.editing(model, place.plan.edited(self.cell, n_edits), place.unedited, kinds[EDIT])
            if ABILITY in kinds:
                self._stage(n_edits, "perplexity")
                rows += measure.text(model, place.unedited, kinds[ABILITY])
            more, failed = self._metrics(model, n_edits, kinds)
            rows += more
        if WEIGHTS in kinds:
            rows += measure.weights(model, self._shares, kinds[WEIGHTS], self._covariance())
        self._stage(n_edits, "writing")
        ended = self._commit(n_edits, rows, [])
        self._tell(n_edits, failed)
        for asked, outputs, lost in self._asked(model, n_edits, wanted):
            ended |= self._commit(n_edits, asked, outputs)
            rows += asked
            failed |= lost
            self._tell(n_edits, lost)
        lost_tasks = {"failed_tasks": {name: answering.line(error) for name, error in failed.items()}} if failed else {}
        return {"n_edits": n_edits, **_summary(rows), **ended, **lost_tasks}

    def _asked(
        self, model: EditableModel, n_edits: int, wanted: Set[str]
    ) -> Iterator[tuple[list[Row], list[Row], dict[str, Exception]]]:
        """(rows, outputs, what failed) of all that an engine is asked: metrics of the model's own words, and tasks."""
        place = self.place
        metrics = [name for name in place.plan.spoken if place.plan.kinds[metric_kind(name)] in wanted]
        questions = [one for one in place.plan.questions if one.evaluation in wanted]
        if not metrics and not questions:
            return
        self._stage(n_edits, "generating")
        engine = place.engine()
        told = Answering(place.plan, self.cell, place.store, place.unedited)
        failed = told.remember(metrics, engine)
        took = [measure.swap(engine, model)]
        if metrics:
            left = [name for name in metrics if metric_kind(name) not in failed]
            rows, outputs, lost = told.scores(left, n_edits, engine)
            yield [*took, *rows], outputs, failed | lost
            took = []
        for rows, outputs, lost in measure.tasks(engine, questions, place.plan.config.tasks.keep_texts):
            yield [*took, *rows], outputs, lost
            took = []

    def _metrics(
        self, model: EditableModel, n_edits: int, kinds: Mapping[str, str]
    ) -> tuple[list[Row], dict[str, Exception]]:
        """Rows of the metrics that are asked for besides, and those that failed: they cost their own rows alone."""
        rows: list[Row] = []
        failed: dict[str, Exception] = {}
        for kind, name in ((metric_kind(name), name) for name in self.place.plan.config.metrics):
            if kind not in kinds or name in self.place.plan.spoken:
                continue
            self._stage(n_edits, "edit metrics")
            try:
                rows += measure.metric(name, model, self.place.plan.edited(self.cell, n_edits), kinds[kind])
            except Exception as error:
                failed[kind] = answering.failed(kind, error)
        return rows, failed

    def _commit(self, n_edits: int, rows: list[Row], outputs: list[Row]) -> dict[str, str]:
        """Write what was measured, with the row that ends the cell once its figures say so: {"stopped": the rule}."""
        place, cell = self.place, self.cell
        if not rows:
            return {}
        why = None if n_edits in self._stops else self._stopper.reason(n_edits, rows)
        if why is not None:
            self._stops.add(n_edits)
            rows = [*rows, measurement("stop", why, n_edits, evaluation=place.plan.stopped)]
        place.store.commit(cell.id, cell.axes(), n_edits, place.plan.engine, place.environment, rows, outputs)
        made = sorted({row["evaluation"] for row in rows} - {""})
        place.journal.write("rows-written", cell=cell.id, n_edits=n_edits, evaluations=made, rows=len(rows))
        return {} if why is None else {"stopped": why}

    def _tell(self, n_edits: int, failed: Mapping[str, Exception]) -> None:
        """Note the tasks that failed. Where a device's memory did not suffice they are tried again, in smaller batches.

        Raises:
            torch.OutOfMemoryError: that is still to be tried.
        """
        for name, error in failed.items():
            about = {"cell": self.cell.id, "n_edits": n_edits, "task": name, "reason": answering.line(error)}
            self.place.journal.write("task-failed", **about)
            if isinstance(error, torch.OutOfMemoryError) and not self.place.frugal:
                raise error

    def _stage(self, n_edits: int, stage: str) -> None:
        self.place.journal.write("stage", cell=self.cell.id, n_edits=n_edits, stage=stage)


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    """A few figures for Tune's table."""
    by_name = {row["name"]: row["value"] for row in rows}
    scores = [row["value"] for row in rows if row["kind"] == "task" and row["name"].endswith("/score")]
    figures = {
        "reliability": by_name.get("reliability/preference"),
        "locality": by_name.get("locality/token_accuracy"),
        "score": sum(scores) / len(scores) if scores else None,
    }
    return {name: value for name, value in figures.items() if value is not None}
