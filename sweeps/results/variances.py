"""How uncertain the figures of a sweep's rows are, and where that comes from: what a plan's power is reckoned from.

With edited cells of several seeds all is known. With one seed, or the unedited model alone (`sweeps evaluate`), nothing
is known of how edited models differ; of the unedited alone nothing of pairs either: both sides have the luck of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from sweeps.results import power, tradeoff
from sweeps.results.measured import ALL_TASKS, EDITING, Measurements
from sweeps.results.power import Sources
from sweeps.results.tradeoff import GROUP, UNEDITED
from sweeps.results.units import Measured


@dataclass(frozen=True)
class Seen:
    """What a rehearsal tells of one figure.

    Attributes:
        level, change: sources of the figure and of its difference between regularizers, per unit.
        seeds: edited models of one kind that were seen, at most.
        share: units per example (ner: a sentence, which is one unit, is four examples).
    """

    value: float
    level: Sources
    change: Sources
    seeds: int = 0
    share: float = 1.0


def read(rows: pd.DataFrame, outputs: pd.DataFrame) -> dict[str, Seen]:
    """{figure: what is seen of it}, for the editing metrics, the tasks, and the mean over all tasks between models."""
    rows = tradeoff.one_evaluation(rows)
    points = rows.sort_values("n_edits").drop_duplicates("cell", keep="last")
    found = Measurements(rows, outputs, points)
    edited = points[points["setting"] != UNEDITED]
    tasks = tradeoff.task_names(rows)
    seen = {}
    for what in (*EDITING, *tasks, ALL_TASKS):
        groups = [
            [_by_seed(found, level, what, tasks) for _, level in group.groupby(["regularizer", "k"], dropna=False)]
            for _, group in edited.groupby([*GROUP, "n_edits"], dropna=False)
        ]
        if not edited.empty:
            one = _of_edited(groups)
        else:
            one = _of_unedited([found.figure(cell, 0, what, tasks) for cell in points["cell"]])
        if one is not None:
            seen[what] = replace(one, share=_share(found, points, what)) if what in tasks else one
    return seen


def _share(found: Measurements, points: pd.DataFrame, task: str) -> float:
    """Units per example, of the first cell that has any."""
    for cell, n_edits in points[["cell", "n_edits"]].itertuples(index=False, name=None):
        examples = found.examples(cell, n_edits, task)
        if examples:
            return found.figure(cell, n_edits, task).units / examples
    return 1.0


def _of_edited(groups: Sequence[Sequence[Mapping[int, Measured]]]) -> Seen | None:
    every = [one for group in groups for level in group for one in level.values()]
    level = power.pooled([power.sources([*one.values()]) for group in groups for one in group])
    change = power.pooled([power.between_pairs([dict(one) for one in group]) for group in groups])
    known = [one.value for one in every if one.value == one.value]
    if level is None or not known:
        return None
    seeds = max(len(level) for group in groups for level in group)
    return Seen(sum(known) / len(known), level, change or _twice(level), seeds)


def _of_unedited(models: Sequence[Measured]) -> Seen | None:
    level = power.pooled([power.sources([one]) for one in models])
    return None if level is None else Seen(models[0].value, level, _twice(level))


def _twice(level: Sources) -> Sources:
    """Of a difference of which no pairs are known: both sides have the luck of one."""
    return Sources(2 * level.between, 2 * level.own, 2 * level.common)


def _by_seed(found: Measurements, level: pd.DataFrame, what: str, tasks: Sequence[str]) -> dict[int, Measured]:
    lines = level[["cell", "n_edits", "seed"]].itertuples(index=False, name=None)
    return {seed: found.figure(cell, n_edits, what, tasks) for cell, n_edits, seed in lines}
