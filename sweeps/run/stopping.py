"""When a sequence has gone far enough: a figure stood at or beyond a bound for so many checkpoints in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeps.config.search import StopSpec
from sweeps.plan.grid import Cell
from sweeps.store.schema import Row
from sweeps.store.store import Store


class Stopper:
    """The rules of a sweep at work on one cell.

    Args:
        rules: any of them ends the cell.
        cell: whose checkpoints are counted.
        earlier: figures of checkpoints that are in the store already: {n_edits: {name: value}}.
    """

    def __init__(self, rules: Sequence[StopSpec], cell: Cell, earlier: Mapping[int, Mapping[str, float]]) -> None:
        self._rules = rules
        self._points = cell.checkpoints
        self._figures = {n: dict(figures) for n, figures in earlier.items()}

    @classmethod
    def of(cls, rules: Sequence[StopSpec], cell: Cell, store: Store) -> Stopper:
        """With what the store holds of the cell. The unedited model is never stopped."""
        if not rules or cell.method is None:
            return cls((), cell, {})
        earlier: dict[int, dict[str, float]] = {}
        rows = store.rows([cell.id])
        for n_edits, name, value in zip(rows["n_edits"], rows["name"], rows["value"], strict=True):
            earlier.setdefault(int(n_edits), {})[str(name)] = float(value)
        return cls(rules, cell, earlier)

    def reason(self, n_edits: int, rows: Sequence[Row]) -> str | None:
        """Take the rows of a checkpoint. Returns the first rule that ends the cell there, as text."""
        self._figures.setdefault(n_edits, {}).update({row["name"]: row["value"] for row in rows})
        past = [point for point in self._points if point <= n_edits]
        for rule in self._rules:
            last = past[-rule.checkpoints :]
            values = [self._figures.get(point, {}).get(rule.figure) for point in last]
            if len(values) == rule.checkpoints and all(value is not None and rule.reached(value) for value in values):
                return str(rule)
        return None
