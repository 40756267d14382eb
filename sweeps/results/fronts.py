"""Who is beaten by nobody: the front of editing against ability, only ever among equal numbers of edits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

TASKS, TEXT = "tasks", "text"
"""What ability is read from (`sweeps.results.ability`)."""


def furthest(table: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Per line the largest number of edits in its group: only lines that have it are compared with one another."""
    return table.groupby(list(by), dropna=False)["n_edits"].transform("max")


def front(table: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """The front of `edit_retention` against ability, among the lines of each group with its largest number of edits.

    A cell that ended after fewer has been hurt less: it is on no front, and takes none from it. Ability is
    `task_retention`; little `drift` where a column `ability` says TEXT.
    """
    equal = table[table["n_edits"] == furthest(table, by)]
    ability = equal["task_retention"]
    if "ability" in equal:
        ability = ability.where(equal["ability"] != TEXT, -equal["drift"])
    return pareto(equal.assign(ability=ability), "edit_retention", "ability", by).reindex(table.index, fill_value=False)


def pareto(table: pd.DataFrame, x: str, y: str, by: Sequence[str] = ()) -> pd.Series:
    """Which lines no other line of their group beats: none has at least as much of both `x` and `y` and more of one.

    A line with NaN in `x` or `y` is not on the front, and beats nothing.
    """
    front = pd.Series(False, index=table.index)
    known = table[table[x].notna() & table[y].notna()]
    groups = [known] if not by else [group for _, group in known.groupby(list(by), dropna=False, sort=False)]
    for group in groups:
        if group.empty:
            continue
        best = group.groupby(x)[y].max().sort_index(ascending=False)  # the best y at each x, largest x first
        above = best.cummax().shift(fill_value=-np.inf)  # the best y at any larger x
        tops = best[best > above]
        front[group.index] = group[y].to_numpy() == group[x].map(tops).to_numpy()
    return front
