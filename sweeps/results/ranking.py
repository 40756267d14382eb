"""Methods with their regularizers in order, and whether the first is shown to be ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results import intervals
from sweeps.results.measured import balance
from sweeps.results.retention import Sides
from sweeps.results.tradeoff import UNEDITED, label
from sweeps.results.units import Measured

PLACES = ["model", "setting", "batch_size", "n_edits"]
WHO = ["method", "regularizer", "k"]
FIGURES = ["edit_score", "task_retention", "balance", "low", "high", "rank", "seeds", "behind", "p", "note"]
COLUMNS = [*PLACES, *WHO, *FIGURES]


def ranking(table: pd.DataFrame, sides: Mapping[str, Sides] | None = None) -> pd.DataFrame:
    """Methods with their regularizers in order, within each model, setting, batch size and number of edits.

    What is ranked is the mean over edited models of `balance`, the harmonic mean of `edit_score` and `task_retention`
    (capped at 1): high only where the facts are learned and the tasks survive. `edit_retention` would not do: it is
    relative to each method's own.

    Args:
        table: what `tradeoff.tradeoff` returns.
        sides: what `retention.sides` returns for it; without them a single edited model has no interval.

    Returns:
        one line per competitor: means over its seeds, `low` to `high` the 95% interval of the balance (of one seed over
        its facts and examples alone); `rank` is 1 for the best, equal ones share the mean of their ranks, NaN with the
        reason in `note` where a side is missing. `behind`: how far the first of its place is ahead, over the seeds that
        both have, and `p` its two-sided p, times the number of pairs in that place, as the first was not known
        beforehand; NaN for fewer than two seeds.
    """
    edited = table[table["setting"] != UNEDITED]
    lines: list[dict[str, Any]] = []
    for place, group in edited.groupby(PLACES, dropna=False, sort=False):
        competitors = list(group.groupby(WHO, dropna=False, sort=False))  # a missing k is not equal to itself
        found = [_by_seed(mine, sides or {}) for _, mine in competitors]
        means = [intervals.mean([*each.values()]) for each in found]
        known = [i for i, one in enumerate(means) if one.models]
        first = max(known, key=lambda i: means[i].value, default=None)
        pairs = len(known) * (len(known) - 1) / 2
        for i, (who, mine) in enumerate(competitors):
            gone = [what for what in ("edit_score", "task_retention") if mine[what].isna().all()]
            behind = intervals.NONE
            if first is not None and i != first:
                seeds = [seed for seed in found[first] if seed in found[i]]
                behind = intervals.paired((found[first][seed], found[i][seed]) for seed in seeds)
            lines.append(
                dict(zip([*PLACES, *WHO], [*place, *who], strict=True))
                | {what: mine[what].mean() for what in ("edit_score", "task_retention")}
                | {"balance": means[i].value, "low": means[i].low, "high": means[i].high}
                | {"seeds": mine["seed"].nunique(), "behind": behind.value}
                | {"p": min(1.0, behind.p() * pairs) if behind.models > 1 else np.nan}
                | {"note": ", ".join(f"{what} is missing" for what in gone)}
            )
    mean = pd.DataFrame(lines, columns=[name for name in COLUMNS if name != "rank"])
    mean["rank"] = mean.groupby(PLACES, dropna=False)["balance"].rank(ascending=False, method="average")
    order = mean.sort_values([*PLACES, "rank", *WHO], na_position="last", kind="stable")
    return order[COLUMNS].reset_index(drop=True)


def named(table: pd.DataFrame) -> list[str]:
    """What competitors are called: "rome rect 40"."""
    return [f"{method} {label(*how)}" for method, *how in table[WHO].itertuples(index=False, name=None)]


def _by_seed(lines: pd.DataFrame, sides: Mapping[str, Sides]) -> dict[int, Measured]:
    """The balance of each cell that has both sides."""
    found = {}
    for line in lines[["cell", "seed", "edit_score", "task_retention"]].to_dict("records"):
        mine = sides.get(line["cell"])
        editing = Measured(line["edit_score"], mine.edit_score.parts if mine else {})
        ability = Measured(line["task_retention"], mine.task_retention.parts if mine else {})
        one = balance(editing, ability)
        if not np.isnan(one.value):
            found[line["seed"]] = one
    return found
