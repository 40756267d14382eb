"""What each regularizer keeps of the editing and of the tasks, how sure that is, and whether it is enough.

A share is that of the trade-off table: per edited model a ratio of means, over several models the mean of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results import intervals, units
from sweeps.results.intervals import Estimate
from sweeps.results.measured import Measurements
from sweeps.results.tradeoff import GROUP, UNEDITED, one_evaluation
from sweeps.results.units import Measured

KEEP = 0.95
"""Share of the editing that a regularizer is asked to keep."""

SIDES = ("edit_retention", "task_retention")
FIGURES = ("", "_low", "_high", "_models", "_units")
COLUMNS = [*GROUP, "n_edits", "regularizer", "k", *(f"{side}{figure}" for side in SIDES for figure in FIGURES)]
COLUMNS += ["p_keeps", "k_low", "k_high"]


@dataclass(frozen=True)
class Sides:
    """A cell at its last checkpoint: figures of the trade-off table with what their errors are made of."""

    edit_score: Measured
    unregularized: Measured  # the edit score of the cell with regularizer none
    edit_retention: Measured
    task_retention: Measured


def sides(rows: pd.DataFrame, outputs: pd.DataFrame | None, table: pd.DataFrame) -> dict[str, Sides]:
    """{cell: its sides} of every edited cell.

    Args:
        rows, outputs: the sweep's tables.
        table: what `tradeoff.tradeoff` returns for the rows.
    """
    rows = one_evaluation(rows)
    edited = table[table["setting"] != UNEDITED]
    cells = rows.drop_duplicates("cell")
    bases = cells[cells["setting"] == UNEDITED]
    nones = cells[(cells["regularizer"] == "none") & (cells["setting"] != UNEDITED)]
    none_of = {tuple(line): cell for cell, *line in nones[["cell", *GROUP, "seed"]].itertuples(index=False, name=None)}
    base_of = bases.groupby("model")["cell"].agg(list).to_dict()
    reached = edited[["n_edits"]].drop_duplicates()
    points = [edited[["cell", "n_edits"]], bases[["cell", "n_edits"]], reached.merge(nones[["cell"]], how="cross")]
    found = Measurements(rows, outputs, pd.concat(points).drop_duplicates())
    tasks = [c.removesuffix("_retention") for c in table.columns if c.endswith("_retention") and c not in SIDES]
    made = {}
    needed = ["cell", "n_edits", *GROUP, "seed", "edit_score", *SIDES, *(f"{task}_retention" for task in tasks)]
    for line in edited[needed].to_dict("records"):
        cell, n_edits = line["cell"], line["n_edits"]
        score = found.edit_score(cell, n_edits)
        none = found.edit_score(none_of.get((*(line[name] for name in GROUP), line["seed"]), ""), n_edits)
        share = Measured(line["edit_retention"], units.quotient(score, none).parts)
        ability = _ability(line, base_of.get(line["model"], []), tasks, found)
        made[cell] = Sides(Measured(line["edit_score"], score.parts), none, share, ability)
    return made


def kept(table: pd.DataFrame, of: Mapping[str, Sides], share: float = KEEP) -> pd.DataFrame:
    """Both retentions of every regularizer and k at its group's last checkpoint, with 95% intervals.

    Args:
        table: what `tradeoff.tradeoff` returns.
        of: what `sides` returns for it.
        share: of the editing that a regularizer is asked to keep.

    Returns:
        per group, regularizer and k for either side the mean over edited models (seeds), `_low` and `_high`, `_models`
        that have a value, `_units`: facts or examples behind it. With one model the interval is of its facts or
        examples alone (see `sweeps.results.intervals`). `p_keeps`: one-sided p of "its edit score is below `share` of
        the unregularized", a test of non-inferiority on score - share x unregularized score per edited model, which has
        no denominator to fluctuate; small where it is shown to keep at least that. Per regularizer `k_low`: the
        smallest k that is not shown to keep less; `k_high`: the smallest that is shown to keep at least `share`, as are
        all larger ones; infinite where there is none, NaN where no interval is known. A level of which a seed ended
        earlier is in neither. Unregularized cells are what is divided by: they have no share of the editing.
    """
    edited = table[table["setting"] != UNEDITED]
    lines: list[dict[str, Any]] = []
    for keys, group in edited.groupby(list(GROUP), dropna=False, sort=False):
        n_edits = int(group["n_edits"].max())
        mine: list[tuple[dict[str, Any], Estimate, bool]] = []  # with what is above the share
        for (regularizer, k), level in group.groupby(["regularizer", "k"], dropna=False, sort=False):
            last = level[level["n_edits"] == n_edits]
            cells = [of[cell] for cell in last["cell"]]
            own = [one for one in cells if regularizer != "none" and not np.isnan(one.edit_retention.value)]
            editing = intervals.mean([one.edit_retention for one in own])
            above = intervals.mean([units.margin(one.edit_score, one.unregularized, share) for one in own])
            ability = intervals.mean([one.task_retention for one in cells])
            head = dict(zip(GROUP, keys, strict=True)) | {"n_edits": n_edits, "regularizer": regularizer, "k": k}
            both = zip(SIDES, (editing, ability), strict=True)
            figures = {f"{side}{name}": value for side, one in both for name, value in _told(one)}
            mine.append((head | figures | {"p_keeps": above.p_below(0.0)}, above, len(last) == len(level)))
        lines += _with_k(mine)
    return pd.DataFrame(lines, columns=COLUMNS)


def _told(found: Estimate) -> list[tuple[str, float]]:
    return list(zip(FIGURES, (found.value, found.low, found.high, found.models, found.units), strict=True))


def _with_k(levels: Sequence[tuple[dict[str, Any], Estimate, bool]]) -> list[dict[str, Any]]:
    """The lines with `k_low` and `k_high` of their regularizer.

    From the largest k downwards each is asked whether it is shown to keep the share, until one is not: in this order no
    p has to be adjusted for their number.
    """
    lines = []
    for name in dict.fromkeys(line["regularizer"] for line, _, _ in levels):
        ours = [(line["k"], one) for line, one, whole in levels if line["regularizer"] == name and whole]
        high = np.inf
        for k, one in sorted(ours, key=lambda pair: -pair[0]):
            if not one.at_least >= 0:
                break
            high = k
        possible = [k for k, one in ours if one.at_most >= 0]
        low = min(possible, default=np.inf)
        told = name != "none" and any(one.stderr >= 0 for _, one in ours)
        bounds = {"k_low": low, "k_high": high} if told else {"k_low": np.nan, "k_high": np.nan}
        lines += [line | bounds for line, _, _ in levels if line["regularizer"] == name]
    return lines


def _ability(line: dict[Any, Any], bases: Sequence[str], tasks: Sequence[str], found: Measurements) -> Measured:
    """A cell's share of the tasks, examples paired with the unedited model's."""
    usable = [task for task in tasks if not pd.isna(line[f"{task}_retention"])]
    shares = []
    for task in usable:
        base = units.average([found.figure(cell, 0, task) for cell in bases])
        shares.append(units.quotient(found.figure(line["cell"], line["n_edits"], task), base))
    made = units.average(shares)
    return Measured(line["task_retention"], made.parts)
