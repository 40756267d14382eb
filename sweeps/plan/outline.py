"""What of a plan says which rows are wanted: its cells and evaluations. Needs neither facts nor examples nor models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sweeps.config.config import Config
from sweeps.plan.grid import Cell

if TYPE_CHECKING:
    from sweeps.store.store import Done

EDIT, ABILITY, WEIGHTS = "edit", "ability", "weights"
UNEDITED_KINDS, EDITED_KINDS = (ABILITY,), (EDIT, WEIGHTS, ABILITY)


def metric_kind(name: str) -> str:
    """What the evaluation of a metric that is asked for besides is called; no task has such a name."""
    return f"metric {name}"


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Cells, and what is measured of them.

    Attributes:
        cells: with their ids, by model.
        kinds: ids of the evaluations that are no task, by kind.
        asked: ids of the tasks' evaluations, by the task's name, in order.
        stopped: evaluation id of the row that says that a cell was stopped early; other rules for stopping are others.
        scanned: ids of cells of which only the edit metrics are wanted: a search looks at them.
        candidates: cells that a search may add.
    """

    config: Config
    cells: tuple[Cell, ...]
    kinds: Mapping[str, str]
    asked: Mapping[str, str]
    stopped: str
    scanned: frozenset[str] = frozenset()
    candidates: tuple[Cell, ...] = ()

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return list(self.asked)

    def cell(self, cell_id: str) -> Cell:
        return self._by_id[cell_id]

    @cached_property
    def _by_id(self) -> dict[str, Cell]:
        return {cell.id: cell for cell in (*self.cells, *self.candidates)}

    def wanted(self, cell: Cell) -> dict[str, str]:
        """What is evaluated at each checkpoint of a cell: {evaluation id: kind or task name}."""
        if cell.id in self.scanned:
            return {self.kinds[EDIT]: EDIT}
        own = UNEDITED_KINDS if cell.method is None else (*EDITED_KINDS, *map(metric_kind, self.config.metrics))
        return {self.kinds[kind]: kind for kind in own} | {one: name for name, one in self.asked.items()}

    def missing(self, cell: Cell, done: Done) -> dict[int, set[str]]:
        """{checkpoint: evaluations that are not in the store}; empty for a finished cell.

        Nothing is missing behind the checkpoint at which a cell was stopped early.
        """
        wanted = set(self.wanted(cell))
        ended = min((n for n in cell.checkpoints if (cell.id, n, self.stopped) in done), default=cell.checkpoints[-1])
        points = [n for n in cell.checkpoints if n <= ended]
        missing = {n: {one for one in wanted if (cell.id, n, one) not in done} for n in points}
        return {n: evaluations for n, evaluations in missing.items() if evaluations}
