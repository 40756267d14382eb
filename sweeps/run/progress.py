"""How far a sweep is: read from the store and its journals, so any terminal on any machine sees the same.

sweeps run shows it live; sweeps status DIR shows it once.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.plan.grid import Cell
from sweeps.plan.kept import kept_plan
from sweeps.plan.outline import Outline
from sweeps.results import collateral
from sweeps.store import journal
from sweeps.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SILENT = 900.0  # seconds after which a process on another machine that says nothing is taken for dead
SHOWN = 12  # running or failed cells that are listed


@dataclass(frozen=True)
class Running:
    """A cell at work: what it is doing and for how long."""

    cell: Cell
    stage: str
    n_edits: int
    seconds: float


@dataclass(frozen=True)
class Snapshot:
    """A sweep at one moment.

    Attributes:
        cells: number of cells of the plan; of these `done` are finished, `running` at work, `failed` have a reason.
        checkpoints_done, checkpoints: as `done` and `cells`, in checkpoints.
        collateral: what `collateral.found` says of the rows so far.
        seconds_left: estimated from the checkpoints of this run; None while there is nothing to go by.
    """

    name: str
    cells: int
    done: int
    running: tuple[Running, ...]
    failed: tuple[tuple[Cell, str], ...]
    checkpoints: int
    checkpoints_done: int
    seconds_left: float | None = None
    collateral: tuple[str, ...] = ()


@dataclass
class _Process:
    """What the journal of one process said last."""

    cell: str | None = None
    stage: str = "starting"
    n_edits: int = 0
    since: float = 0.0
    heard: float = 0.0
    pid: int = 0
    host: str = ""


class Tracker:
    """Follows the journals of a sweep.

    Args:
        plan: the sweep.
        store: its output folder.
    """

    def __init__(self, plan: Outline, store: Store) -> None:
        self.plan, self.store = plan, store
        self._done, self._failed = store.done(), store.failures()
        self._cells = {cell.id: cell for cell in plan.cells}
        self._missing = {cell.id: plan.missing(cell, self._done) for cell in plan.cells}
        self._checkpoints = sum(len(cell.checkpoints) for cell in plan.cells)
        self._reader = journal.Reader(store.folder)
        self._processes: dict[str, _Process] = {}
        self._began: float | None = None  # of the last run
        self._at_begin = 0
        self._collateral: tuple[str, ...] = ()
        self._stale = True  # whether rows have come that tell how far edits alone move a model

    def snapshot(self) -> Snapshot:
        """The state as of now."""
        for event in sorted(self._reader.new(), key=lambda event: event["time"]):
            self._take(event)
        if self._stale:
            rows = self.store.rows()
            self._collateral, self._stale = tuple(collateral.found(rows[rows["cell"].isin(self._cells)])), False
        done = self._count()
        running = tuple(self._running())
        failed = [(self._cells[one], why) for one, why in self._failed.items() if self._missing.get(one)]
        hopeless = sum(len(self._missing[cell.id]) for cell, _ in failed)
        return Snapshot(
            name=self.plan.config.name,
            cells=len(self.plan.cells),
            done=sum(not missing for missing in self._missing.values()),
            running=running,
            failed=tuple(failed),
            checkpoints=self._checkpoints,
            checkpoints_done=done,
            seconds_left=self._seconds_left(done, self._checkpoints - hopeless) if running else None,
            collateral=self._collateral,
        )

    def _take(self, event: dict[str, Any]) -> None:
        kind, cell = event["event"], event.get("cell", "")
        host = event["process"].rsplit("-", 2)[0]
        process = self._processes.setdefault(event["process"], _Process(pid=event["pid"], host=host))
        process.heard = event["time"]
        if kind == "run-started":
            self._began, self._at_begin = event["time"], self._count()
        elif kind == "cell-started":
            self._failed.pop(cell, None)
            process.cell, process.stage, process.n_edits, process.since = cell, "starting", 0, event["time"]
        elif kind == "edit-started":
            process.stage, process.n_edits = "editing", event["n_edits"]
        elif kind == "stage":
            process.stage, process.n_edits = event["stage"], event["n_edits"]
        elif kind == "rows-written":
            self._done.update((cell, event["n_edits"], one) for one in event["evaluations"])
            if cell in self._cells:  # else another configuration's
                self._missing[cell] = self.plan.missing(self._cells[cell], self._done)
                one = self._cells[cell]
                self._stale |= one.regularizer == "none" and event["n_edits"] == one.checkpoints[0]
        elif kind in ("cell-done", "cell-failed"):
            process.cell = None
            if kind == "cell-failed":
                self._failed[cell] = event["reason"]

    def _count(self) -> int:
        """Checkpoints that are done."""
        return self._checkpoints - sum(len(missing) for missing in self._missing.values())

    def _running(self) -> Iterable[Running]:
        now = time.time()
        for process in self._processes.values():
            if process.cell and self._missing.get(process.cell) and _alive(process, now):
                yield Running(self._cells[process.cell], process.stage, process.n_edits, now - process.since)

    def _seconds_left(self, done: int, total: int) -> float | None:
        if self._began is None or done <= self._at_begin:
            return None
        return (time.time() - self._began) / (done - self._at_begin) * (total - done)


def _alive(process: _Process, now: float) -> bool:
    if process.host != socket.gethostname():
        return now - process.heard < SILENT
    try:
        os.kill(process.pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # another user's
    return True


def status(out: str | os.PathLike[str]) -> Snapshot:
    """The state of the sweep in an output folder.

    Raises:
        InputError: there is no sweep.
    """
    store = Store(out)
    return Tracker(kept_plan(store), store).snapshot()


def render(snapshot: Snapshot) -> RenderableType:
    """The picture that `sweeps run` and `sweeps status` show."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(snapshot.name, style="bold"),
        ProgressBar(total=max(1, snapshot.checkpoints), completed=snapshot.checkpoints_done, width=30),
        Text(summary(snapshot)),
    )
    parts: list[RenderableType] = [head]
    if snapshot.running or snapshot.failed:
        table = Table.grid(padding=(0, 2))
        for one in snapshot.running[:SHOWN]:
            edits = f"{one.n_edits} of {one.cell.checkpoints[-1]} edits" if one.cell.method else ""
            table.add_row(Text("  running", style="cyan"), str(one.cell), one.stage, edits, duration(one.seconds))
        for cell, reason in snapshot.failed[:SHOWN]:
            table.add_row(Text("  failed", style="red"), str(cell), Text(reason))
        hidden = len(snapshot.running[SHOWN:]) + len(snapshot.failed[SHOWN:])
        parts += [table, *([Text(f"  and {hidden} more")] if hidden else [])]
    parts += [Text(line, style="yellow") for line in snapshot.collateral]
    return Group(*parts)


def summary(snapshot: Snapshot) -> str:
    """How many cells are done, running and failed, and the time left, in one line."""
    left = "" if snapshot.seconds_left is None else f", about {duration(snapshot.seconds_left)} left"
    counts = f"{snapshot.done} of {snapshot.cells} cells done, {len(snapshot.running)} running"
    return f"{counts}, {len(snapshot.failed)} failed{left}"


def duration(seconds: float) -> str:
    """ "45 s", "12 min", "3 h 20 min" """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Live:
    """Shows progress while the driver works: a live picture on a terminal, a line per checkpoint elsewhere.

    Args:
        plan: the sweep.
        store: its output folder.
        console: where to show it; None for nowhere.
    """

    def __init__(self, plan: Outline, store: Store, console: Console | None) -> None:
        self._tracker = Tracker(plan, store)
        self._console = console
        self._every = 1.0 if store.folder.local else 10.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> Live:
        if self._console is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _show(self) -> None:
        from rich.live import Live as Screen

        assert self._console is not None
        if not self._console.is_terminal:
            self._lines()
            return
        with Screen(render(self._tracker.snapshot()), console=self._console, refresh_per_second=2) as screen:
            while not self._stop.wait(self._every):
                screen.update(render(self._tracker.snapshot()))
            screen.update(render(self._tracker.snapshot()))

    def _lines(self) -> None:
        assert self._console is not None
        said: Sequence[object] = ()
        told: set[str] = set()
        while True:
            stopped = self._stop.wait(self._every)
            now = self._tracker.snapshot()
            news = (now.checkpoints_done, now.failed, now.done)
            if news != said:
                said = news
                checkpoints = f"{now.checkpoints_done} of {now.checkpoints} checkpoints"
                self._console.print(f"{now.name}: {checkpoints}, {summary(now)}", soft_wrap=True, highlight=False)
            for line in now.collateral:
                if line not in told:
                    told.add(line)
                    self._console.print(line, style="yellow", soft_wrap=True, highlight=False, markup=False)
            if stopped:
                return
