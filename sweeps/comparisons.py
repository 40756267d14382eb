"""Who is better, and how sure that is: RECT against its controls pair by pair, and everything in order.

Pure functions of the tables, as in `sweeps.aggregate`. What cannot be compared gets a line all the same, with NaN and
the reason in `note`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweeps.aggregate import GROUP, UNEDITED, interval, label, one_evaluation
from sweeps.significance import NONE, Difference, holm
from sweeps.significance import paired as test

CONTROLS = ("random", "pca", "pca-release", "magnitude")
EDITING = ("reliability", "generalization", "locality")
ALL_TASKS = "all tasks"
NEEDED = ["cell", *GROUP, "regularizer", "k", "seed", "n_edits", "kind", "name", "value", "n", "evaluation"]
PAIRED_COLUMNS = [*GROUP, "n_edits", "k", "against", "what", "rect", "other", "difference", "low", "high", "p"]
PAIRED_COLUMNS += ["p_adjusted", "pairs", "note"]


def paired(
    rows: pd.DataFrame,
    outputs: pd.DataFrame | None = None,
    regularizer: str = "rect",
    controls: Sequence[str] = CONTROLS,
) -> pd.DataFrame:
    """RECT minus each control at the same k, over pairs that share everything else, at the last common checkpoint.

    Pairs are facts for the editing metrics (token accuracy, per fact and seed); tasks for `all tasks` (score, per task
    and seed); examples for each task, where `outputs` are given.

    Args:
        rows: the rows table, with rows per fact.
        outputs: the outputs table.
        regularizer: whose part is taken.
        controls: those that do not occur in a group at any k are left out; at a k that only one side has, a line says
            what is missing.

    Returns:
        one line per group, k, control and what was compared: `rect` and `other` (means over the pairs), `difference`
        with its 95% bootstrap interval `low` to `high`, `p` of the sign-flip test, `p_adjusted` (Holm, within group and
        k), `pairs`, `note`.
    """
    rows = rows.loc[rows["setting"] != UNEDITED, NEEDED]
    points = rows.drop_duplicates(["cell", "n_edits"])
    units = _units(rows, points, outputs, (regularizer, *controls))
    sides = dict(iter(units.groupby([*GROUP, "n_edits", "regularizer", "k"], sort=False)))  # those without k drop out
    lines: list[dict[str, Any]] = []
    for keys, group in points.groupby(list(GROUP), dropna=False, sort=True):
        mine = group[group["regularizer"] == regularizer]
        there = set(group["regularizer"])
        for k in sorted(mine["k"].dropna().unique()):
            for control in [name for name in controls if name in there and name != regularizer]:
                other = group[(group["regularizer"] == control) & (group["k"] == k)]
                common = set(mine.loc[mine["k"] == k, "n_edits"]) & set(other["n_edits"])
                head = dict(zip(GROUP, keys, strict=True)) | {"k": k, "against": control}
                if not common:
                    why = f"no cell {label(control, k)}" if other.empty else "no checkpoint in common"
                    lines.append(head | {"n_edits": np.nan, "what": "", **_figures(NONE, why)})
                    continue
                n_edits = max(common)
                lines += [
                    head | {"n_edits": n_edits} | line
                    for line in _of_pair(sides, (*keys, n_edits), (regularizer, k), (control, k))
                ]
    table = pd.DataFrame(lines).reindex(columns=PAIRED_COLUMNS)
    if len(table):
        table["p_adjusted"] = table.groupby([*GROUP, "k"], dropna=False)["p"].transform(holm)
    return table


def _figures(found: Difference, note: str = "", means: tuple[float, float] = (np.nan, np.nan)) -> dict[str, Any]:
    difference = {"difference": found.mean, "low": found.low, "high": found.high, "p": found.p, "pairs": found.n}
    return {"rect": means[0], "other": means[1], **difference, "note": note}


def _units(
    rows: pd.DataFrame, points: pd.DataFrame, outputs: pd.DataFrame | None, names: Sequence[str]
) -> pd.DataFrame:
    """One line per cell, checkpoint and thing that can be paired: `what`, `unit`, `value`, the cell's columns.

    Args:
        rows: of the edited cells.
        points: one row per cell and checkpoint.
        outputs: as for `paired`.
        names: regularizers of which lines are wanted.
    """
    ids = [*GROUP, "regularizer", "k", "seed", "n_edits"]
    units = _named(rows["name"].unique())
    rows = one_evaluation(rows[rows["name"].isin(units["name"]) & rows["kind"].isin(["edit", "task"])])
    evaluations = rows["evaluation"].unique()
    rows = rows[_both(rows, points, names)]
    each = rows[["cell", *ids, "name", "value"]].merge(units, on="name")
    parts = [each]
    if outputs is not None and len(outputs):
        kept = outputs[outputs["evaluation"].isin(evaluations)]
        each = kept[["cell", "n_edits", "task", "index", "score"]].merge(points[["cell", *ids]], on=["cell", "n_edits"])
        parts.append(each.rename(columns={"task": "what", "score": "value"}).assign(unit=each["index"].astype(str)))
    return pd.concat([part[[*ids, "what", "unit", "value"]] for part in parts], ignore_index=True)


def _named(names: Iterable[str]) -> pd.DataFrame:
    """Measurements that can be paired: `name`, `what` and `unit` (a fact's number, or a task)."""
    fact = re.compile(rf"({'|'.join(EDITING)})/token_accuracy/fact-(\d+)")
    found: list[tuple[str, str, str]] = []
    for name in names:
        if match := fact.fullmatch(name):
            found.append((name, match[1], match[2]))
        elif name.endswith("/score"):
            found.append((name, ALL_TASKS, name.removesuffix("/score")))
    return pd.DataFrame(found, columns=["name", "what", "unit"], dtype=str)


def _both(rows: pd.DataFrame, points: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Which rows are of a k that, in their group, several of the regularizers have: the others have no counterpart."""
    level = [*GROUP, "k"]
    wanted = points[points["regularizer"].isin(names) & points["k"].notna()]
    several = wanted.groupby(level, dropna=False)["regularizer"].transform("nunique") > 1
    return rows["cell"].isin(wanted.loc[several, "cell"])


def _of_pair(
    sides: Mapping[Any, pd.DataFrame], place: tuple[Any, ...], first: tuple[str, float], second: tuple[str, float]
) -> Iterable[dict[str, Any]]:
    """Lines of one comparison; `place`: values of GROUP and n_edits, the others: (regularizer, k)."""

    def side(one: tuple[str, float]) -> pd.Series:
        part = sides.get((*place, *one), pd.DataFrame(columns=["what", "seed", "unit", "value"]))
        return part.groupby(["what", "seed", "unit"])["value"].mean()

    both = pd.concat({"rect": side(first), "other": side(second)}, axis=1)
    present = set(both.index.get_level_values("what"))
    tasks = sorted(present - {*EDITING, ALL_TASKS})
    for what in [*EDITING, ALL_TASKS, *tasks]:
        part = both.loc[what] if what in present else both.iloc[:0]
        known = part.dropna()
        if known.empty:
            empty = [label(*one) for one, column in ((first, "rect"), (second, "other")) if part[column].isna().all()]
            yield {"what": what, **_figures(NONE, f"{what} was not measured per pair: {', '.join(empty)}")}
            continue
        means = float(known["rect"].mean()), float(known["other"].mean())
        gone = len(part) - len(known)
        note = f"{gone} without a counterpart left out" if gone else ""
        yield {"what": what, **_figures(test(known["rect"] - known["other"]), note, means)}


RANKED_COLUMNS = ["model", "setting", "batch_size", "n_edits", "method", "regularizer", "k"]
RANKED_COLUMNS += ["edit_score", "task_retention", "balance", "low", "high", "rank", "seeds", "note"]


def ranking(table: pd.DataFrame) -> pd.DataFrame:
    """Methods with their regularizers in order, within each model, setting, batch size and number of edits.

    What is ranked is `balance`, the harmonic mean of `edit_score` and `task_retention` (capped at 1): high only where
    the facts are learned and the tasks survive. `edit_retention` would not do: it is relative to each method's own.

    Args:
        table: what `aggregate.tradeoff` returns.

    Returns:
        one line per competitor, the means over its seeds and the balance of these; `low` to `high` is its 95% interval
        over seeds (Student's t, from the balances of the single seeds), NaN for one seed; `rank` is 1 for the best,
        equal ones share the mean of their ranks, NaN with the reason in `note` where a side is missing.
    """
    places = ["model", "setting", "batch_size", "n_edits"]
    edited = table[table["setting"] != UNEDITED]
    who = ["method", "regularizer", "k"]
    groups = edited.groupby([*places, *who], dropna=False, sort=False)
    mean = groups[["edit_score", "task_retention"]].mean().reset_index()
    mean["seeds"] = groups["seed"].nunique().to_numpy()
    mean["balance"] = _balance(mean)
    each = edited.assign(balance=_balance(edited)).groupby([*places, *who], dropna=False, sort=False)["balance"]
    mean["low"], mean["high"] = interval(mean["balance"], each.std(), each.count())
    mean["rank"] = mean.groupby(places, dropna=False)["balance"].rank(ascending=False, method="average")
    gone = [
        ", ".join(f"{what} is missing" for what in ("edit_score", "task_retention") if pd.isna(line[what]))
        for _, line in mean.iterrows()
    ]
    mean["note"] = gone
    order = mean.sort_values([*places, "rank", *who], na_position="last", kind="stable")
    return order.reindex(columns=RANKED_COLUMNS).reset_index(drop=True)


def _balance(table: pd.DataFrame) -> pd.Series:
    """2 e t / (e + t) of edit_score e and task_retention t, both within 0 and 1; 0 where both are."""
    editing, ability = (table[side].astype(float).clip(0, 1) for side in ("edit_score", "task_retention"))
    total = editing + ability
    return (2 * editing * ability / total.where(total > 0)).where(total != 0, 0.0)
