"""What a sweep found, in sentences: which k keeps enough of the editing, how sure that is, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from sweeps import aggregate

KEEP = 0.95
"""Share of the editing that a regularizer is asked to keep."""


def headlines(table: pd.DataFrame, sure: pd.DataFrame, share: float = KEEP) -> list[dict[str, str]]:
    """Per group of cells `title`, `finding` (which k keeps enough of the editing) and `scores` (what that costs).

    Args:
        table: what `aggregate.tradeoff` returns.
        sure: what `bootstrap.edit_retention` returns for the same rows and share.
    """
    if table.empty:
        return []
    mean = aggregate.over_seeds(table)
    best = aggregate.smallest_k(table, share)
    found = []
    edited = mean[mean["setting"] != aggregate.UNEDITED]
    for keys, group in edited.groupby(list(aggregate.GROUP), dropna=False, sort=False):
        model, method, setting, _ = keys
        most = group["n_edits"].max()
        early = _ended_early(group, most)
        group = group[group["n_edits"] == most]
        title = place([model, method, setting], group["batch_size"].iloc[0], group["n_edits"].iloc[0])
        candidates = best[(best[list(aggregate.GROUP)] == list(keys)).all(axis=1)]
        unedited = mean[(mean["setting"] == aggregate.UNEDITED) & (mean["model"] == model)]
        known = sure[(sure[list(aggregate.GROUP)] == list(keys)).all(axis=1)]
        said = _finding(group, candidates, unedited, known, share)
        found.append({"title": title} | said | {"finding": said["finding"] + early})
    return found


def _ended_early(group: pd.DataFrame, most: int) -> str:
    """What was not compared, as others of the group have more edits; nothing where all have as many."""
    early = group[group["n_edits"] < most]
    names = [
        f"{aggregate.label(line['regularizer'], line['k'])} ended after {count(int(line['n_edits']), 'edit')}"
        for _, line in early.iterrows()
    ]
    return f" Not compared: {', '.join(names)}." if names else ""


def place(names: Iterable[object], batch_size: float, n_edits: float) -> str:
    """What a group of cells is called: "gpt2, memit, batch-sequential, batches of 10, after 50 edits"."""
    parts = [*map(str, names), *([f"batches of {batch_size:g}"] if batch_size != 1 else [])]
    return ", ".join([*parts, *([] if math.isnan(n_edits) else [f"after {count(int(n_edits), 'edit')}"])])


def _finding(
    group: pd.DataFrame, candidates: pd.DataFrame, unedited: pd.DataFrame, sure: pd.DataFrame, share: float
) -> dict[str, str]:
    none = group[group["regularizer"] == "none"]
    ranked = candidates.assign(order=(candidates["regularizer"] != "rect")).sort_values("order", kind="stable")
    if ranked.empty:
        finding, chosen = "No regularizer was run.", none
    elif math.isnan(ranked.iloc[0]["k"]):
        kind, reason = ranked.iloc[0]["regularizer"], ranked.iloc[0]["reason"]
        known = group.loc[group["regularizer"] == kind, "edit_retention"].notna().any()
        told = f"{reason} (share of the editing kept)" if known else "what it keeps of the editing is not known"
        finding, chosen = f"{kind}: {told}.", none
    else:
        first = ranked.iloc[0]
        chosen = group[(group["regularizer"] == first["regularizer"]) & (group["k"] == first["k"])]
        name = aggregate.label(first["regularizer"], first["k"])
        ks = [f"{k:g}" for k in sorted(group.loc[group["regularizer"] == first["regularizer"], "k"])]
        of = f" of {', '.join(ks)}" if len(ks) > 1 else ""
        finding = (
            f"{name} is the smallest k{of} that keeps {share:.0%} of the editing: it keeps {_share(chosen, 'edit')}"
        )
        finding += f" of the editing and {_share(chosen, 'task')} of the tasks"
        finding += f", against {_share(none, 'task')} of the tasks without regularization." if len(none) else "."
        finding += _range_of_k(sure[(sure["regularizer"] == first["regularizer"]) & (sure["k"] == first["k"])])
    scores = [("unedited", unedited), ("unregularized", none)]
    if len(chosen) and chosen.iloc[0]["regularizer"] != "none":
        scores.append((aggregate.label(chosen.iloc[0]["regularizer"], chosen.iloc[0]["k"]), chosen))
    shown = [f"{name} {_number(part['task_score'].iloc[0])}" for name, part in scores if len(part)]
    text = f"Mean task score: {', '.join(shown)}."
    tasks = [c for c in group.columns if c.endswith("_retention") and c not in ("edit_retention", "task_retention")]
    usable = int(group["retention_tasks"].max())
    if usable < len(tasks):
        text += f" Of the {len(tasks)} tasks {usable} can tell what was kept."
    return {"finding": finding, "scores": text}


def _range_of_k(sure: pd.DataFrame) -> str:
    """How far the choice of k depends on which facts were edited; nothing of fewer than two."""
    if sure.empty or sure["facts"].iloc[0] < 2:  # of one fact every draw is the same
        return ""
    line = sure.iloc[0]
    low, high = line["k_low"], line["k_high"]
    if math.isinf(high):
        between = f"at least {low:g}, or no k is enough" if not math.isinf(low) else "larger than any that was run"
    else:
        between = f"between {low:g} and {high:g}" if low < high else f"{low:g}"
    kept = f"{line['low']:.0%} to {line['high']:.0%}"
    drawn = f"Drawing the {int(line['facts'])} facts anew"
    return f" {drawn}, it keeps {kept} of the editing, and the smallest k is {between} (95% of draws)."


def _share(line: pd.DataFrame, what: str) -> str:
    """ "97% (94% to 100%)" of the first line, with the interval over seeds where there is one."""
    value = line[f"{what}_retention"].iloc[0]
    if math.isnan(value):
        return "an unknown share"
    low, high = line[f"{what}_retention_low"].iloc[0], line[f"{what}_retention_high"].iloc[0]
    bounds = "" if math.isnan(low) else f" ({max(low, 0.0):.0%} to {high:.0%} over {line['seeds'].iloc[0]} seeds)"
    return f"{value:.0%}{bounds}"


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3f}"


def count(number: int, noun: str) -> str:
    """ "1 edit", "2 edits"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
