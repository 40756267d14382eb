"""RECT against its controls at the same k: who is better, and how sure that is.

Pure functions of the tables, as in `sweeps.results.tradeoff`. What cannot be compared gets a line all the same, with
NaN and the reason in `note`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results import intervals, power, units
from sweeps.results.intervals import NONE, Estimate
from sweeps.results.measured import ALL_TASKS, EDITING, Measurements
from sweeps.results.tradeoff import GROUP, UNEDITED, label, one_evaluation, task_names

CONTROLS = ("random", "pca", "pca-release", "magnitude")
NEEDED = ["cell", *GROUP, "regularizer", "k", "seed", "n_edits", "kind", "name", "value", "stderr", "n", "evaluation"]
PAIRED_COLUMNS = [*GROUP, "n_edits", "k", "against", "what", "rect", "other", "difference", "low", "high", "p"]
PAIRED_COLUMNS += ["p_adjusted", "models", "units", "tells", "note"]


def paired(rows: pd.DataFrame, outputs: pd.DataFrame | None = None) -> pd.DataFrame:
    """RECT minus each control at the same k, edited models paired by their seed, at the last common checkpoint.

    Of `CONTROLS` those that do not occur in a group at any k are left out; at a k that only one side has, a line says
    what is missing.

    Compared is what is reported: the editing metrics (token accuracy), the score of each task, and `all tasks`, their
    mean. Over several seeds the test is paired t over their differences; of one seed the interval is over its facts or
    examples, for this one edited model, and there is no p: it says nothing of regularizers.

    Args:
        rows: the rows table.
        outputs: the outputs table: examples are paired where it has their scores.

    Returns:
        one line per group, k, control and what was compared: `rect` and `other` (means over the models compared),
        `difference` with its 95% interval `low` to `high`, two-sided `p`, `p_adjusted` (Holm, within group and k),
        `models`: pairs of edited models, `units`: facts or examples behind them, `tells`: the smallest difference that
        such rows would show in four of five cases (one comparison alone), `note`.
    """
    rows = one_evaluation(rows.loc[rows["setting"] != UNEDITED, NEEDED])
    points = rows.drop_duplicates(["cell", "n_edits"])
    wanted = points[points["regularizer"].isin(["rect", *CONTROLS]) & points["k"].notna()]
    found = Measurements(rows, outputs, wanted)
    tasks = task_names(rows)
    lines: list[dict[str, Any]] = []
    for keys, group in points.groupby(list(GROUP), dropna=False, sort=True):
        mine = group[group["regularizer"] == "rect"]
        there = set(group["regularizer"])
        for k in sorted(mine["k"].dropna().unique()):
            for control in [name for name in CONTROLS if name in there]:
                other = group[(group["regularizer"] == control) & (group["k"] == k)]
                first = mine[mine["k"] == k]
                common = set(first["n_edits"]) & set(other["n_edits"])
                head = dict(zip(GROUP, keys, strict=True)) | {"k": k, "against": control}
                if not common:
                    why = f"no cell {label(control, k)}" if other.empty else "no checkpoint in common"
                    lines.append(head | {"n_edits": np.nan, "what": "", **_figures(NONE, why)})
                    continue
                n_edits = max(common)
                sides = [_by_seed(side, n_edits) for side in (first, other)]
                names = label("rect", k), label(control, k)
                lines += [head | {"n_edits": n_edits} | line for line in _of_pair(found, tasks, sides, n_edits, names)]
    table = pd.DataFrame(lines).reindex(columns=PAIRED_COLUMNS)
    if len(table):
        table["p_adjusted"] = table.groupby([*GROUP, "k"], dropna=False)["p"].transform(intervals.holm)
    return table


def _by_seed(side: pd.DataFrame, n_edits: int) -> dict[int, str]:
    """{seed: cell}"""
    at = side[side["n_edits"] == n_edits]
    return dict(zip(at["seed"].tolist(), at["cell"].tolist(), strict=True))


def _figures(found: Estimate, note: str = "", means: tuple[float, float] = (np.nan, np.nan)) -> dict[str, Any]:
    p = found.p() if found.models > 1 else np.nan
    difference = {"difference": found.value, "low": found.low, "high": found.high, "p": p}
    behind = {"models": found.models, "units": found.units, "tells": power.smallest(found)}
    return {"rect": means[0], "other": means[1], **difference, **behind, "note": note}


def _of_pair(
    found: Measurements, tasks: Sequence[str], sides: Sequence[dict[int, str]], n_edits: int, names: tuple[str, str]
) -> Iterable[dict[str, Any]]:
    """Lines of one comparison; `sides`: {seed: cell} of either, `names`: what they are called."""
    seeds = sorted(set(sides[0]) | set(sides[1]))
    for what in [*EDITING, ALL_TASKS, *tasks]:
        pairs = [
            tuple(found.figure(side[s], n_edits, what, tasks) if s in side else units.MISSING for side in sides)
            for s in seeds
        ]
        known = [(a, b) for a, b in pairs if not (np.isnan(a.value) or np.isnan(b.value))]
        if not known:
            empty = [name for i, name in enumerate(names) if all(np.isnan(pair[i].value) for pair in pairs)]
            why = f"not measured: {', '.join(empty)}" if empty else "no seed in common"
            yield {"what": what, **_figures(NONE, f"{what}: {why}")}
            continue
        means = float(np.mean([a.value for a, _ in known])), float(np.mean([b.value for _, b in known]))
        gone = len(pairs) - len(known)
        note = f"{gone} of {len(pairs)} seeds without a counterpart left out" if gone else ""
        yield {"what": what, **_figures(intervals.paired(known), note, means)}
