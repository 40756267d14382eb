"""Every measurement over the number of edits: the lines of the page and of the figures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from sweeps.results import intervals
from sweeps.results.tradeoff import ABILITIES, EDIT_METRICS, UNEDITED, more_metrics, one_evaluation


def curves(rows: pd.DataFrame, kinds: Iterable[str] = ("edit", "task", "ability")) -> pd.DataFrame:
    """Every averaged measurement over the number of edits: mean over seeds and its 95% interval.

    The interval is over edited models, on the task's examples as they are. On a curve of a single seed it is over the
    facts or examples of that edited model; on one of several, a point that only one has (the unedited model) has none.

    The unedited model is the point `n_edits` = 0 of each of its model's curves. In the setting `batch-single` each
    batch size is a cell of its own and one point of a curve: there `n_edits` is the batch size, `batch_size` is NaN.

    Returns:
        `model, method, setting, batch_size, regularizer, k, kind, name, n_edits, mean, low, high, stderr, seeds`;
        `stderr` is the root mean square of the rows' own standard errors (over examples or facts, not over seeds).
    """
    rows = one_evaluation(rows)
    rows = rows[rows["kind"].isin(list(kinds))]
    averaged = rows["name"].isin([*EDIT_METRICS, *ABILITIES, *more_metrics(rows)]) | (rows["kind"] == "task")
    rows = rows[averaged].copy()
    rows["batch_size"] = rows["batch_size"].astype(float)
    single = rows["setting"] == "batch-single"
    rows.loc[single, "n_edits"] = rows.loc[single, "batch_size"].astype(int)
    rows.loc[single, "batch_size"] = np.nan
    unedited = rows["setting"] == UNEDITED
    keys = ["model", "method", "setting", "batch_size", "regularizer", "k"]
    edited = rows[~unedited]
    starts = edited[keys].drop_duplicates().merge(rows[unedited].drop(columns=keys[1:]), on="model")
    points = pd.concat([edited, starts[edited.columns]], ignore_index=True) if len(starts) else edited
    points = points.assign(square=points["stderr"].astype(float) ** 2)
    groups = points.groupby([*keys, "kind", "name", "n_edits"], dropna=False, sort=True)
    told = {"seeds": ("seed", "nunique"), "square": ("square", "mean"), "n": ("n", "sum")}
    out = groups.agg(mean=("value", "mean"), count=("value", "count"), spread=("value", "var"), **told).reset_index()
    out["stderr"] = np.sqrt(out["square"])
    out["n"] = out["n"].where(out["kind"] != "ability", 0)  # no share of so many: nothing follows from equal values
    of, df = intervals.variance(*(out[name].to_numpy(dtype=float) for name in ("spread", "count", "square", "n")))
    several = out.groupby([*keys, "kind", "name"], dropna=False)["count"].transform("max") > 1
    of = np.where(several & (out["count"] < 2), np.nan, of)
    out["low"], out["high"] = intervals.bounds(out["mean"].to_numpy(dtype=float), of, df)
    return out[[*keys, "kind", "name", "n_edits", "mean", "low", "high", "stderr", "seeds"]]
