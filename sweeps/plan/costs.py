"""What a sweep will take, before it is paid for: a model from rates that a short run of the same kind measured.

Every run leaves its rates in `rates.json`. Only what the rates say goes into the model: how long an update takes, a
repeated operation, a checkpoint, an answer, a start. Other models, other hardware and longer prompts have other rates.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import Any

from modelfolder.errors import InputError
from sweeps.config.config import Config
from sweeps.plan import search
from sweeps.plan.identity import Plan, contents_here, make_plan
from sweeps.store import journal
from sweeps.store.store import Store

RATES = "rates.json"
MEASURING = ("edit metrics", "perplexity", "generating")  # stages with which a checkpoint begins


@dataclass(frozen=True)
class Rates:
    """Means over a run: seconds, and bytes in the store. NaN does not occur: what was not measured is 0.

    Attributes:
        edit: seconds of computing one update.
        operation: of applying one, from the store or just computed, and regularizing it.
        checkpoint: of a checkpoint without its generations.
        prompt: of one generation.
        start: of a worker, until its first edit or measurement.
        update_bytes, checkpoint_bytes: of an update, and of the rows and outputs of a checkpoint.
        machine: where that was, in words.
    """

    edit: float = 0.0
    operation: float = 0.0
    checkpoint: float = 0.0
    prompt: float = 0.0
    start: float = 0.0
    update_bytes: float = 0.0
    checkpoint_bytes: float = 0.0
    machine: str = ""


@dataclass(frozen=True)
class Cost:
    """What is to do, and what the model says it takes.

    Attributes:
        updates: to be computed; `operations`: to be applied; `checkpoints`: to be measured; `prompts`: to be answered.
        hours: of all workers together: GPU hours where a worker has one GPU.
        bytes: that the store grows by.
    """

    updates: int
    operations: int
    checkpoints: int
    prompts: int
    hours: float
    bytes: float


def measure(store: Store) -> Rates:
    """Rates of what was run in a folder, from its journals, rows and files."""
    events = journal.events(store.folder)
    rows = store.rows()
    times = rows[rows["kind"] == "time"].groupby("name")[["value", "n"]].sum()
    seconds, counts = times["value"].to_dict(), times["n"].to_dict()
    operations = counts.get("regularizing_seconds", 0)
    loading = [event["seconds"] for event in events if event["event"] == "edit-loaded"]
    measured, starts = _spans(events)
    generating = seconds.get("generating_seconds", 0.0)
    points = len(rows[["cell", "n_edits"]].drop_duplicates())
    about = next(reversed(store.environments().values()), {})
    sizes = {kind: store.folder.sizes(kind) for kind in ("updates", "rows", "outputs")}
    return Rates(
        edit=_mean([event["seconds"] for event in events if event["event"] == "edit-computed"]),
        operation=(seconds.get("regularizing_seconds", 0.0) + sum(loading)) / operations if operations else 0.0,
        checkpoint=max(0.0, sum(measured) - generating) / len(measured) if measured else 0.0,
        prompt=generating / counts["generating_seconds"] if counts.get("generating_seconds") else 0.0,
        start=_mean(starts),
        update_bytes=_mean(list(sizes["updates"].values())),
        checkpoint_bytes=(sum(sizes["rows"].values()) + sum(sizes["outputs"].values())) / points if points else 0.0,
        machine=", ".join(str(about[key]) for key in ("host", "platform", "engine") if key in about),
    )


def _spans(events: Iterable[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Seconds of each checkpoint from its first measurement to its rows, and of each worker's start."""
    began: dict[str, float] = {}  # of the checkpoint at which a process is
    first: dict[str, float] = {}  # when a process began to load
    ready: dict[str, float] = {}  # its first edit or measurement
    spans: dict[tuple[str, str, int], float] = {}  # a checkpoint is written part by part
    for event in events:
        process, kind, at = event["process"], event["event"], event["time"]
        if kind == "stage" and event["stage"] == "loading the model":
            first.setdefault(process, at)
        measuring = kind == "stage" and event["stage"] in MEASURING
        if measuring or kind in ("edit-wanted", "edit-loaded"):
            ready.setdefault(process, at)
        if measuring:
            began.setdefault(process, at)
        if kind == "rows-written" and process in began:
            where = (process, event["cell"], event["n_edits"])
            spans[where] = spans.get(where, 0.0) + at - began.pop(process)
    return [*spans.values()], [ready[process] - at for process, at in first.items() if process in ready]


def _mean(values: list[float] | list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def write(store: Store) -> None:
    """Leave the rates of a run in its folder."""
    store.folder.write(RATES, json.dumps(asdict(measure(store)), indent=2).encode())


def read(source: str | os.PathLike[str]) -> Rates:
    """Rates from a file, or from the folder of a run.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    text = os.fspath(source)
    name = text if text.endswith(".json") else f"{text.rstrip('/')}/{RATES}"
    folder, _, file = name.rpartition("/")
    data = Store(folder or Path.cwd()).folder.read_or_none(file)
    if data is None:
        raise InputError(f"{name}: there are no rates; a short run leaves some: sweeps run CONFIG --limit-cells 3")
    try:
        values = json.loads(data)
        return Rates(**{field.name: values[field.name] for field in fields(Rates)})
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{name}: not the rates of a run ({RATES})") from None


def estimate(plan: Plan, rates: Rates, store: Store, workers: int = 1) -> Cost:
    """What is missing of a plan, and what that takes by these rates. A cell is replayed from its first operation."""
    done = store.done()
    kept = {PurePath(name).stem for name in store.folder.names("updates")}
    updates: set[str] = set()
    operations = checkpoints = prompts = 0
    asked = {one.evaluation: len(one.examples) for one in plan.questions}
    for cell in plan.cells:
        missing = plan.missing(cell, done)
        if not missing:
            continue
        chain = [operation.id for operation in plan.operations(cell, max(missing))]
        updates.update(one for one in chain if one not in kept)
        operations += len(chain)
        checkpoints += len(missing)
        prompts += sum(asked.get(one, 0) for wanted in missing.values() for one in wanted)
    seconds = len(updates) * rates.edit + operations * rates.operation
    seconds += checkpoints * rates.checkpoint + prompts * rates.prompt + (workers * rates.start if checkpoints else 0.0)
    size = len(updates) * rates.update_bytes + checkpoints * rates.checkpoint_bytes
    return Cost(len(updates), operations, checkpoints, prompts, seconds / 3600, size)


def told(cost: Cost, rates: Rates, workers: int, price: float | None) -> list[str]:
    """A cost in words; it says that it is a model."""
    lines = [
        f"cost, a model and no promise, from rates measured on {rates.machine or 'an unknown machine'}:",
        f"  {cost.updates} updates to compute, {cost.operations} operations to apply, "
        f"{cost.checkpoints} checkpoints to measure, {cost.prompts} prompts to answer",
        f"  {cost.hours:.2f} hours of one worker, {cost.hours / workers:.2f} hours for {workers} at a time; "
        f"{cost.bytes / 1e6:.1f} MB in the store",
    ]
    if price is not None:
        lines.append(
            f"  {cost.hours * price:.2f} at {price:g} for an hour of a worker, idle time and head node not in it"
        )
    return lines


def show(config: Config, out: str, source: str, workers: int, price: float | None, say: Callable[[str], None]) -> None:
    """Tell what is missing of a sweep in a folder, and what it takes by the rates in `source`."""
    rates, store = read(source), Store(out)
    plan = search.decided(make_plan(config, contents_here(config, store.contents())), store)
    for line in told(estimate(plan, rates, store, workers), rates, workers, price):
        say(line)
