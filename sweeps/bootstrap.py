"""How sure the share of the editing that a regularizer keeps is: resampling the edited facts.

Cells of one group and seed edit the same facts, so they are resampled together: a fact that nobody learns hurts all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sweeps.aggregate import GROUP, UNEDITED, one_evaluation

DRAWS = 2000
COVERAGE = (2.5, 97.5)  # percentiles: a 95% interval
COLUMNS = [*GROUP, "regularizer", "k", "facts", "low", "high", "k_low", "k_high"]


def edit_retention(rows: pd.DataFrame, share: float = 0.95, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """95% bootstrap intervals of the share of the editing that is kept, and of the smallest k that keeps `share`.

    Per draw, n of the n (seed, fact) pairs of a group are drawn with replacement; a cell's score is the mean over them
    of reliability and generalization (token accuracy), its retention that over the score with regularizer `none`.

    Args:
        rows: the rows table, with rows per fact.
        share: as for `aggregate.smallest_k`.

    Returns:
        one line per group, regularizer and k at the group's last checkpoint: `facts` (pairs drawn from), `low` and
        `high` of the retention; `k_low` and `k_high` of the regularizer's smallest k, infinite where a draw had none.
        No line where facts have no rows of their own, or no cell has regularizer none.
    """
    lines: list[dict[str, object]] = []
    scores = _per_fact(rows)
    for keys, group in scores.groupby(list(GROUP), dropna=False, sort=False):
        group = group[group["n_edits"] == group["n_edits"].max()]
        wide = group.pivot_table(index=["seed", "fact"], columns=["regularizer", "level"], values="score").dropna()
        levels = list(wide.columns)
        if wide.empty or ("none", -1.0) not in levels:
            continue
        units = len(wide)
        counts = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=draws)
        means = counts @ wide.to_numpy() / units  # (draws, cells)
        base = means[:, levels.index(("none", -1.0))]
        kept = np.divide(means, base[:, None], out=np.full_like(means, np.nan), where=base[:, None] > 0)
        for regularizer in dict.fromkeys(name for name, _ in levels if name != "none"):
            mine = [i for i, (name, _) in enumerate(levels) if name == regularizer]
            ks = np.array([levels[i][1] for i in mine])
            k_low, k_high = _interval(_smallest(kept[:, mine], ks, share))
            for i, k in zip(mine, ks, strict=True):
                low, high = _interval(kept[:, i])
                found = {"regularizer": regularizer, "k": k, "facts": units, "low": low, "high": high}
                lines.append(dict(zip(GROUP, keys, strict=True)) | found | {"k_low": k_low, "k_high": k_high})
    return pd.DataFrame(lines, columns=COLUMNS)


def _per_fact(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per cell, checkpoint and fact: `score`, and `level`, k or -1 (a pivot drops NaN)."""
    part = one_evaluation(rows[(rows["kind"] == "edit") & (rows["setting"] != UNEDITED)])
    found = part["name"].str.extract(r"^(?P<metric>reliability|generalization)/token_accuracy/fact-(?P<fact>\d+)$")
    part = part.assign(**found).dropna(subset=["metric", "value"])
    part = part.assign(level=part["k"].fillna(-1.0), fact=part["fact"].astype(int))
    keys = [*GROUP, "regularizer", "level", "seed", "n_edits", "fact"]
    return part.groupby(keys, dropna=False)["value"].mean().rename("score").reset_index()


def _smallest(kept: np.ndarray, ks: Sequence[float] | np.ndarray, share: float) -> np.ndarray:
    """Per draw the smallest k with at least `share`, infinite where there is none. kept: (draws, ks)"""
    return np.where(kept >= share, np.asarray(ks)[None, :], np.inf).min(axis=1)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Percentiles that are values of the sample, as k between two that were run means nothing."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, COVERAGE, method="nearest")
    return float(low), float(high)
