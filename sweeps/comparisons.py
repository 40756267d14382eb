"""Who is better, and how sure that is: RECT against its controls pair by pair, and everything in order.

Pure functions of the tables, as in `sweeps.aggregate`. What cannot be compared gets a line all the same, with NaN and
the reason in `note`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweeps.aggregate import GROUP, UNEDITED, label, one_evaluation
from sweeps.significance import NONE, Difference, holm
from sweeps.significance import paired as test

CONTROLS = ("random", "pca", "pca-release", "magnitude")
EDITING = ("reliability", "generalization", "locality")
ALL_TASKS = "all tasks"
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
    rows = one_evaluation(rows[rows["setting"] != UNEDITED])
    units = _units(rows, outputs)
    sides = dict(iter(units.groupby([*GROUP, "n_edits", "regularizer", "k"], sort=False)))  # those without k drop out
    lines: list[dict[str, Any]] = []
    for keys, group in rows.groupby(list(GROUP), dropna=False, sort=True):
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


def _units(rows: pd.DataFrame, outputs: pd.DataFrame | None) -> pd.DataFrame:
    """One line per cell, checkpoint and thing that can be paired: `what`, `unit`, `value`, the cell's columns."""
    ids = [*GROUP, "regularizer", "k", "seed", "n_edits"]
    pattern = rf"^(?P<what>{'|'.join(EDITING)})/token_accuracy/fact-(?P<unit>\d+)$"
    names = rows["name"].where(rows["kind"] == "edit", "")
    facts = rows.join(names.str.extract(pattern)).dropna(subset=["what"])
    scores = rows[(rows["kind"] == "task") & rows["name"].str.endswith("/score")]
    scores = scores.assign(what=ALL_TASKS, unit=scores["name"].str.removesuffix("/score"))
    parts = [facts, scores]
    if outputs is not None and len(outputs):
        cells = rows[["cell", *ids]].drop_duplicates(["cell", "n_edits"])
        evaluations = set(rows["evaluation"])
        kept = outputs[outputs["evaluation"].isin(evaluations)]
        each = kept[["cell", "n_edits", "task", "index", "score"]].merge(cells, on=["cell", "n_edits"])
        parts.append(each.rename(columns={"task": "what", "score": "value"}).assign(unit=each["index"].astype(str)))
    return pd.concat([part[[*ids, "what", "unit", "value"]] for part in parts], ignore_index=True)


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
RANKED_COLUMNS += ["edit_score", "task_retention", "balance", "rank", "seeds", "note"]


def ranking(table: pd.DataFrame) -> pd.DataFrame:
    """Methods with their regularizers in order, within each model, setting, batch size and number of edits.

    What is ranked is `balance`, the harmonic mean of `edit_score` and `task_retention` (capped at 1): high only where
    the facts are learned and the tasks survive. `edit_retention` would not do: it is relative to each method's own.

    Args:
        table: what `aggregate.tradeoff` returns.

    Returns:
        one line per competitor, the means over its seeds; `rank` is 1 for the best, equal ones share the mean of their
        ranks, NaN with the reason in `note` where a side is missing.
    """
    places = ["model", "setting", "batch_size", "n_edits"]
    edited = table[table["setting"] != UNEDITED]
    who = ["method", "regularizer", "k"]
    groups = edited.groupby([*places, *who], dropna=False, sort=False)
    mean = groups[["edit_score", "task_retention"]].mean().reset_index()
    mean["seeds"] = groups["seed"].nunique().to_numpy()
    editing, ability = mean["edit_score"].clip(0, 1), mean["task_retention"].clip(0, 1)
    total = editing + ability
    mean["balance"] = (2 * editing * ability / total.where(total > 0)).where(total != 0, 0.0)
    mean["rank"] = mean.groupby(places, dropna=False)["balance"].rank(ascending=False, method="average")
    gone = [
        ", ".join(f"{what} is missing" for what in ("edit_score", "task_retention") if pd.isna(line[what]))
        for _, line in mean.iterrows()
    ]
    mean["note"] = gone
    order = mean.sort_values([*places, "rank", *who], na_position="last", kind="stable")
    return order.reindex(columns=RANKED_COLUMNS).reset_index(drop=True)
