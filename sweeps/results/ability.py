"""Which ability a trade-off is read from: the tasks where they tell what editing costs, else drift on plain text.

Whether they tell is asked of the unregularized cells alone, so that no regularizer's luck picks the measure: where what
these keep of the tasks is not below all by more than its interval, there is no loss to be seen that a regularizer could
save. Drift is of probabilities, not of right and wrong, and moves long before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from sweeps.results import intervals, units
from sweeps.results.fronts import TASKS, TEXT, front
from sweeps.results.retention import FIGURES
from sweeps.results.tradeoff import GROUP, UNEDITED, one_evaluation
from sweeps.results.units import Measured

Point = tuple[str, int]  # cell, number of edits


def chosen(table: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """The trade-off with `ability` (TASKS or TEXT, of a whole group; "" of unedited cells) and the front by it.

    Args:
        table: what `tradeoff.tradeoff` returns.
        kept: what `retention.kept` returns for it.
    """
    plain = kept[kept["regularizer"] == "none"]
    most = dict(zip(_groups(plain), plain["task_retention_high"], strict=True))
    drifts = set(_groups(table[table["drift"].notna() & (table["setting"] != UNEDITED)]))
    read = {group: TASKS if most.get(group, np.nan) < 1 or group not in drifts else TEXT for group in _groups(table)}
    table = table.assign(ability=[read[group] for group in _groups(table)])
    table["ability"] = table["ability"].where(table["setting"] != UNEDITED, "")
    return table.assign(pareto=front(table, [*GROUP, "seed"]))


def with_drift(kept: pd.DataFrame, rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """`kept` with `drift_share`: a level's drift over that of the same edits without regularization, and its interval.

    Over several edited models a mean of shares; of one over its texts, each paired with itself.

    Args:
        kept: what `retention.kept` returns.
        rows: the rows table, with rows per text.
        table: what `tradeoff.tradeoff` returns for it.
    """
    texts = _per_text(rows)
    edited = table[table["setting"] != UNEDITED]
    by_level = {
        keys: dict(zip(group["seed"], group["cell"], strict=True))
        for keys, group in _keyed(edited).groupby(["group", "n_edits", "regularizer", "level"])
    }
    lines = []
    for group, n_edits, regularizer, level in _keyed(kept)[["group", "n_edits", "regularizer", "level"]].itertuples(
        index=False, name=None
    ):
        none = by_level.get((group, n_edits, "none", -1.0), {})
        mine = by_level.get((group, n_edits, regularizer, level), {})
        both = [(texts.get((cell, n_edits)), texts.get((none.get(seed, ""), n_edits))) for seed, cell in mine.items()]
        shares = [units.quotient(own, base) for own, base in both if own is not None and base is not None]
        found = intervals.mean(shares) if regularizer != "none" else intervals.NONE
        lines.append((found.value, found.low, found.high, found.models, found.units))
    columns = [f"drift_share{name}" for name in FIGURES]
    return kept.join(pd.DataFrame(lines, columns=columns, index=kept.index))


def _per_text(rows: pd.DataFrame) -> Mapping[Point, Measured]:
    """The drift of every cell and checkpoint, as a mean over texts."""
    part = rows[(rows["kind"] == "ability") & rows["name"].str.startswith("drift/text-")]
    part = one_evaluation(part).sort_values("name")
    found: dict[Point, Measured] = {}
    for key, group in part.groupby(["cell", "n_edits"], sort=False):
        cell, n_edits = cast("Point", key)
        values = group["value"].to_numpy(dtype=float)
        found[cell, n_edits] = units.ratio(values, np.ones(len(values)), tuple(group["name"]), "texts", common=True)
    return found


def _groups(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(table[list(GROUP)].itertuples(index=False, name=None))


def _keyed(table: pd.DataFrame) -> pd.DataFrame:
    """With `group`, and `level`: k or -1, as a missing k is not equal to itself."""
    return table.assign(group=pd.Series(_groups(table), table.index, dtype=object), level=table["k"].fillna(-1.0))
