"""`sweeps evaluate`: what any model scores on any tasks, without a sweep; its folder is laid out as a sweep's."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from modelfolder.errors import InputError
from rect import models
from sweeps.config.config import EngineSpec, ModelSpec, TasksSpec
from sweeps.config.strict import Strict, parse
from sweeps.plan.identity import Exam, exam_of, unedited
from sweeps.run import driver, rehearsal, scoring
from sweeps.store.schema import Row, measurement
from sweeps.store.store import Store
from tasks import engines

log = logging.getLogger(__name__)

COLUMNS = {"score": "score", "chance": "chance", "score_release": "release", "score_answered": "score of\nanswered"}
COLUMNS |= {"answered": "answered"}
WITH_ERROR = ("score", "score_release")


class Request(Strict):
    """What to score. `load` makes one from plain values.

    Attributes:
        out: folder for rows and outputs; None leaves nothing.
    """

    model: ModelSpec
    tasks: TasksSpec
    engine: EngineSpec = EngineSpec()
    out: str | None = None


def load(model: dict[str, Any], tasks: dict[str, Any], engine: dict[str, Any], out: str | None = None) -> Request:
    """A request from values as the command line has them.

    Raises:
        InputError: one line that names the option's key.
    """
    if not tasks.get("names"):
        raise InputError("--tasks: name at least one task, or all")
    data = {"model": model, "tasks": tasks, "engine": engine, "out": out}
    return parse(Request, data, "sweeps evaluate")


def evaluate(request: Request, console: Console) -> list[Row]:
    """Score a model, show a table, and leave rows and outputs where a folder is named. Returns the rows.

    Raises:
        InputError: no such model, task or data; or the folder holds these scores, or a sweep, already.
        Exception: a task failed; what the others gave is kept and shown.
    """
    store = None if request.out is None else Store(request.out)
    if store is not None:
        store.folder.check_writable(f"--out {request.out}")
    engine = engines.which(request.engine.name)
    folder = models.resolve(request.model.name, request.model.revision)
    questions = [exam_of(request.tasks, name, engine, request.engine) for name in request.tasks.names]
    cell = unedited(request.model, models.content_of(folder))
    if store is not None:
        _check_empty(store, request, questions, cell.id)
    for line in rehearsal.of_model(request.model, questions, request.engine):
        log.warning("%s", line)
    count = sum(len(one.examples) for one in questions)
    console.print(f"{request.model.name}: {count} examples of {len(questions)} tasks, {engine}", highlight=False)
    began = time.perf_counter()
    with (
        console.status("generating"),
        engines.create(
            engine, folder, **request.engine.options, trust_remote_code=request.model.trust_remote_code
        ) as running,
    ):
        started = time.perf_counter()
        answered = [one for some in scoring.answers(running, questions, request.tasks.keep_texts) for one in some]
        ended = time.perf_counter()
    rows, outputs = [row for one in answered for row in one.rows], [row for one in answered for row in one.outputs]
    rows += [
        measurement("time", "starting_seconds", started - began, n=1),
        measurement("time", "generating_seconds", ended - started, n=len(outputs)),
    ]
    failed = [one for one in answered if one.failed is not None]
    questions = [one for one in questions if one not in [lost.one for lost in failed]]
    if store is not None and questions:
        if unedited(request.model, models.content_of(folder)).id != cell.id:
            raise InputError(f"{folder} has changed while it was scored: nothing is kept")
        for asked in questions:
            store.put_evaluation(asked.evaluation, {"task": asked.name, **asked.described})
        about = driver.environment(engine, questions) | {"evaluated": request.model_dump(mode="json")}
        store.commit(cell.id, cell.axes(), 0, engine, store.put_environment(about), rows, outputs)
    console.print(table(rows, questions))
    console.print(f"{ended - started:.0f} s, after {started - began:.0f} s to start the engine", highlight=False)
    if store is not None and questions:
        texts = "" if request.tasks.keep_texts else " (without texts)"
        console.print(f"rows and outputs{texts} are in {store.url}", highlight=False, soft_wrap=True)
    for one in failed:
        console.print(f"{one.one.name} failed: {one.failed}", style="red", highlight=False, markup=False)
    if failed and failed[0].failed is not None:
        raise failed[0].failed
    return rows


def _check_empty(store: Store, request: Request, questions: Sequence[Exam], cell: str) -> None:
    """Raises InputError where some of these scores are there: a second measurement of a thing would not be seen."""
    if store.folder.exists("config.yaml"):
        raise InputError(f"--out {request.out}: is the folder of a sweep; name another")
    there = [one.name for one in questions if (cell, 0, one.evaluation) in store.done(cell)]
    if there:
        raise InputError(f"--out {request.out}: holds {', '.join(there)} of {request.model.name}; name another folder")


def table(rows: Sequence[Row], questions: Sequence[Exam]) -> Table:
    """One line per task: n, its scores with their standard errors, and how many prompts were cut."""
    values = {row["name"]: row for row in rows if row["kind"] == "task"}
    numbers = (Column(title, justify="right", no_wrap=True) for title in ("n", *COLUMNS.values(), "cut"))
    caption = "+- standard error; cut: prompts whose passage did not fit"
    shown = Table(Column("", overflow="fold"), *numbers, caption=caption, caption_justify="left", box=None)
    for one in questions:
        count = values[f"{one.name}/score"]["n"]
        cells = [_text(values.get(f"{one.name}/{metric}"), metric in WITH_ERROR) for metric in COLUMNS]
        cut = values.get(f"{one.name}/truncated")
        shown.add_row(one.name, str(count), *cells, "-" if cut is None else f"{cut['value']:g}")
    return shown


def _text(row: Row | None, with_error: bool) -> str:
    if row is None or math.isnan(row["value"]):
        return "-"
    error = "" if not with_error or math.isnan(row["stderr"]) else f" +- {row['stderr']:.3f}"
    return f"{row['value']:.3f}{error}"
