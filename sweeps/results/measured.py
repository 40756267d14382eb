"""Rows and outputs as figures with units (`sweeps.results.units`): facts for the editing, examples for the tasks.

The units of a figure are used only where they give the very value that its row reports. Where they do not (outputs of
an earlier version, facts without rows of their own, a harness' own way to sum up) its standard error stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results import units
from sweeps.results.units import Measured
from sweeps.store.outputs import numbered

EDITING = ("reliability", "generalization", "locality")
ALL_TASKS = "all tasks"
FORM = "token_accuracy"
FACTS = "facts"
SAME = 1e-6  # up to which units give the reported value

Point = tuple[str, int]  # cell, number of edits


class Measurements:
    """The figures of a sweep's cells.

    Args:
        rows: the rows table, one evaluation of each measurement (`tradeoff.one_evaluation`).
        outputs: the outputs table; None, or without lines, where there is none.
        points: columns `cell` and `n_edits` of what will be asked for; None: everything.
        sweep: what tells this sweep from another.
        facts: what tells its facts from those of another edit set.
        prompts: whether examples are known by their prompts (between sweeps), not by evaluation and index (within one).
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        outputs: pd.DataFrame | None = None,
        points: pd.DataFrame | None = None,
        sweep: Hashable = None,
        facts: Hashable = None,
        prompts: bool = False,
    ) -> None:
        self._sweep, self._facts_of, self._prompts = sweep, facts, prompts
        self._known: dict[tuple[str, int, str], Measured] = {}
        rows = rows[rows["kind"].isin(["edit", "task"])]
        if points is not None:
            rows = _at(rows, points)
        named = [f"{what}/{FORM}" for what in EDITING]
        wanted = rows["name"].isin(named) | ((rows["kind"] == "task") & rows["name"].str.endswith("/score"))
        columns = ["cell", "n_edits", "name", "value", "stderr", "n", "evaluation"]
        lines = rows.loc[wanted, columns].itertuples(index=False, name=None)
        self._rows = {(cell, n_edits, name): rest for cell, n_edits, name, *rest in lines}
        self.generalizes = any(name == named[1] for _, _, name in self._rows)
        self.seeds = dict(rows[["cell", "seed"]].drop_duplicates("cell").itertuples(index=False, name=None))
        self._facts, self._lengths = _read_facts(rows)
        self._outputs = _read_outputs(outputs, points)

    def figure(self, cell: str, n_edits: int, what: str, tasks: Sequence[str] = ()) -> Measured:
        """Of the facts edited so far reliability, generalization or locality (token accuracy); or the score of a task.

        `ALL_TASKS` is the mean score of some `tasks`.
        """
        if what == ALL_TASKS:
            return units.average([self.figure(cell, n_edits, task) for task in tasks])
        key = (cell, n_edits, f"{what}/{FORM if what in EDITING else 'score'}")
        if key not in self._known:
            self._known[key] = self._made(*key) if key in self._rows else units.MISSING
        return self._known[key]

    def examples(self, cell: str, n_edits: int, task: str) -> int:
        """How many outputs a task's score was taken over; 0 where that is not known."""
        n = self._rows.get((cell, n_edits, f"{task}/score"), [0.0, 0.0, None])[2]
        return 0 if n is None or pd.isna(n) else int(n)

    def edit_score(self, cell: str, n_edits: int) -> Measured:
        """Mean of reliability and generalization; reliability alone where no fact of the sweep has a rephrasing."""
        kinds = EDITING[: 2 if self.generalizes else 1]
        return units.average([self.figure(cell, n_edits, what) for what in kinds])

    def _made(self, cell: str, n_edits: int, name: str) -> Measured:
        value, stderr, n, evaluation = self._rows[cell, n_edits, name]
        of_task = name.endswith("/score")
        found = self._by_example(cell, n_edits, name, evaluation) if of_task else self._by_fact(cell, n_edits, name)
        if found is not None and abs(found.value - value) <= SAME:
            return found
        known = not (n is None or pd.isna(n))
        of = name.removesuffix("/score") if of_task else FACTS
        return units.reported(value, stderr, int(n) if known else 0, (self._sweep, cell, n_edits, name), of, of_task)

    def _by_fact(self, cell: str, n_edits: int, name: str) -> Measured | None:
        lines = self._facts.lines.get((cell, n_edits, name))
        if lines is None:
            return None
        above, below = np.zeros((2, self._lengths[cell, n_edits]))
        facts = self._facts.columns["fact"][lines]
        above[facts], below[facts] = self._facts.columns["value"][lines], 1.0
        return units.ratio(above, below, (FACTS, self._facts_of, self.seeds[cell], len(above)), FACTS)

    def _by_example(self, cell: str, n_edits: int, name: str, evaluation: str) -> Measured | None:
        task = name.removesuffix("/score")
        lines = self._outputs.lines.get((cell, n_edits, task, evaluation))
        if lines is None:
            return None
        above, below, unit, index, prompt = (column[lines] for column in self._outputs.columns.values())
        if self._prompts and (prompt == 0).any():
            return None
        key: Hashable = (task, prompt.tobytes()) if self._prompts else (task, evaluation, index.tobytes())
        if (unit >= 0).all():  # else of an earlier version
            codes = np.unique(unit, return_inverse=True)[1]
            above, below = np.bincount(codes, above), np.bincount(codes, below)
        return units.ratio(above, below, key, task, common=True)


@dataclass(frozen=True)
class Grouped:
    """Columns, and by the values of some keys which of their lines."""

    columns: dict[str, np.ndarray] = field(default_factory=dict)
    lines: Mapping[Any, Any] = field(default_factory=dict)


def _read_facts(rows: pd.DataFrame) -> tuple[Grouped, dict[Point, int]]:
    """Fact and value by cell, checkpoint and metric; per cell and checkpoint how many facts there are."""
    pattern = rf"^(?P<metric>(?:{'|'.join(EDITING)})/{FORM})/fact-(?P<fact>\d+)$"
    part = rows[rows["kind"] == "edit"]
    part = part.join(part["name"].str.extract(pattern)).dropna(subset=["metric", "value"])
    part = part.assign(fact=part["fact"].astype(int)).reset_index(drop=True)
    most = part.groupby(["cell", "n_edits"])["fact"].max().reset_index()
    lengths = {(cell, n): fact + 1 for cell, n, fact in most.itertuples(index=False, name=None)}
    lines = part.groupby(["cell", "n_edits", "metric"], sort=False).indices
    return Grouped({name: part[name].to_numpy() for name in ("fact", "value")}, lines), lengths


def _read_outputs(outputs: pd.DataFrame | None, points: pd.DataFrame | None) -> Grouped:
    """What an example adds to both sums, its unit (as a number, -1 where none is known), index and prompt.

    The lines of a checkpoint's task lie one behind the other, by index.
    """
    if outputs is None or outputs.empty:
        return Grouped()
    kept = outputs if points is None else _at(outputs, points)
    if kept.empty:
        return Grouped()
    keys = [pd.factorize(kept[name]) for name in ("cell", "n_edits", "task", "evaluation")]
    order = np.lexsort([kept["index"].to_numpy(), *(codes for codes, _ in reversed(keys))])
    begins = np.zeros(len(order), bool)
    begins[:1] = True
    for codes, _ in keys:
        begins[1:] |= np.diff(codes[order]) != 0
    starts = np.flatnonzero(begins)
    names = (np.asarray(values, object)[codes[order[starts]]] for codes, values in keys)
    spans = (slice(*span) for span in zip(starts, [*starts[1:], len(order)], strict=True))
    lines = dict(zip(zip(*names, strict=True), spans, strict=True))

    def column(name: str) -> np.ndarray:
        return kept[name].to_numpy(dtype=float)[order] if name in kept else np.full(len(order), np.nan)

    above, below = column("numerator"), column("denominator")
    plain = np.isnan(below)
    above[plain], below[plain] = column("score")[plain], 1.0
    columns = {"above": above, "below": below, "unit": _units(kept)[order], "index": kept["index"].to_numpy()[order]}
    prompts = numbered(kept["prompt"])[order] if "prompt" in kept else np.zeros(len(order), np.uint64)
    return Grouped(columns | {"prompt": prompts}, lines)


def _units(outputs: pd.DataFrame) -> np.ndarray:
    if "unit" not in outputs:
        return np.full(len(outputs), -1)
    codes, names = pd.factorize(outputs["unit"])
    return np.where(np.isin(codes, np.flatnonzero(np.asarray(names, object) == "")), -1, codes)


def _at(table: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """The lines of these points."""
    wanted = set(points[["cell", "n_edits"]].itertuples(index=False, name=None))
    (cells, names), (edits, counts) = pd.factorize(table["cell"]), pd.factorize(table["n_edits"])
    there = np.array([[(name, count) in wanted for count in counts] for name in names], bool)
    return table[there[cells, edits]] if len(table) else table


def balance(editing: Measured, ability: Measured) -> Measured:
    """Harmonic mean 2 e t / (e + t) of an edit score e and a share t of the tasks, within 0 and 1; 0 where both are.

    A side above 1 counts as 1, and adds no error.
    """
    e, t = (min(max(one.value, 0.0), 1.0) if not math.isnan(one.value) else one.value for one in (editing, ability))
    if math.isnan(e) or math.isnan(t):
        return units.MISSING
    if e + t == 0:
        return units.combined(0.0, [(0.0, editing), (0.0, ability)])
    slopes = 2 * t**2 / (e + t) ** 2, 2 * e**2 / (e + t) ** 2
    pairs = zip(slopes, (editing, ability), strict=True)
    return units.combined(2 * e * t / (e + t), [(slope * (0 <= one.value <= 1), one) for slope, one in pairs])
