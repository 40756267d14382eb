"""Teacher forcing beside free generation: which edits the first counts and the second does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results import intervals, units
from sweeps.results.measured import FACTS
from sweeps.results.tradeoff import GROUP, one_evaluation

FORCED = "token_accuracy"
SAID = ("contains", "exact_match", "contains_at_period", "exact_match_at_period")
JUDGED = "judged"
KINDS = ("reliability", "generalization", "portability")
PLACE = [*GROUP, "regularizer", "k", "n_edits"]
COLUMNS = [*PLACE, "metric", "kind", "forced", *SAID, "lost", "low", "high", "lost_exact", "lost_released", JUDGED]
COLUMNS += ["models", "facts"]


def beside(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Edits that count, at each cell's last checkpoint, by every metric of free generation that was measured.

    An edit counts under teacher forcing where every token of the target is the argmax, at each of its prompts of the
    kind; freely, where the answer to each holds the target (`contains`) or is it (`exact_match`), with the end of an
    answer that the model makes, or the released one (`_at_period`).

    Args:
        rows: the rows table.
        table: `tradeoff.tradeoff(rows)`.

    Returns:
        one line per metric, kind and group of cells that differ in the seed alone: `PLACE`, `metric`, `kind`; shares of
        the edits that have both: `forced`, each of `SAID`; `lost`, counted by the first and not by `contains`, with
        its 95% interval `low` to `high` over edited models (of one: over its facts); `lost_exact`, `lost_released`:
        likewise by `exact_match`, `contains_at_period`; `judged`, by a judge of the user's (NaN without); `models`:
        edited models; `facts`: edits, over all models.
    """
    found = list(_lines(one_evaluation(rows[rows["kind"] == "edit"]), table))
    return pd.DataFrame(found, columns=COLUMNS)


def _lines(rows: pd.DataFrame, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    pattern = rf"^(?P<metric>[^/]+)/(?P<kind>{'|'.join(KINDS)})/(?P<said>{'|'.join(SAID)})/fact-(?P<fact>\d+)$"
    pairs = rows["name"].drop_duplicates().str.extract(pattern).dropna()[["metric", "kind"]].drop_duplicates()
    last = table[["cell", *PLACE, "seed"]]
    values = rows.merge(last[["cell", "n_edits"]], on=["cell", "n_edits"])[["cell", "name", "value"]]
    by_cell: dict[str, Mapping[str, float]] = {
        str(cell): dict(zip(group["name"], group["value"], strict=True)) for cell, group in values.groupby("cell")
    }
    for metric, kind in pairs.itertuples(index=False, name=None):
        for place, cells in last.groupby(PLACE, dropna=False, sort=False):
            each = [
                (seed, counted)
                for cell, seed in cells[["cell", "seed"]].itertuples(index=False, name=None)
                if len(counted := _counted(by_cell.get(cell, {}), metric, kind))
            ]
            if each:
                yield dict(zip(PLACE, place, strict=True)) | {"metric": metric, "kind": kind} | _shares(each)


def _counted(values: Mapping[str, float], metric: str, kind: str) -> np.ndarray:
    """Whether each edit counts under teacher forcing, by each of `SAID` and the judge: (edits that have all, 6).

    Of the judge NaN where it has not judged.
    """
    names = [f"{kind}/{FORCED}", *(f"{metric}/{kind}/{said}" for said in (*SAID, JUDGED))]
    facts = [name.rpartition("-")[2] for name in values if name.startswith(f"{names[0]}/fact-")]
    lines = [[values.get(f"{name}/fact-{fact}", np.nan) for name in names] for fact in facts]
    counted = np.array(lines, dtype=float).reshape(-1, len(names))
    counted = counted[~np.isnan(counted[:, :-1]).any(1)]
    return np.where(np.isnan(counted), np.nan, counted >= 1)


def _shares(each: list[tuple[int, np.ndarray]]) -> dict[str, Any]:
    """Means over edited models."""
    means = np.mean([counted.mean(0) for _, counted in each], axis=0)
    lost = {said: [(seed, one[:, 0] * (1 - one[:, 1 + i])) for seed, one in each] for i, said in enumerate(SAID)}
    of_each = [units.ratio(one, np.ones(len(one)), (FACTS, seed, len(one)), FACTS) for seed, one in lost["contains"]]
    estimate = intervals.mean(of_each)
    return {
        "forced": means[0],
        **dict(zip((*SAID, JUDGED), means[1:], strict=True)),
        "lost": estimate.value,
        "low": float(np.clip(estimate.low, 0, 1)),
        "high": float(np.clip(estimate.high, 0, 1)),
        "lost_exact": float(np.mean([one.mean() for _, one in lost["exact_match"]])),
        "lost_released": float(np.mean([one.mean() for _, one in lost["contains_at_period"]])),
        "models": estimate.models,
        "facts": sum(len(one) for _, one in each),
    }
