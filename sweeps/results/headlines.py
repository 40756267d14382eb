"""What a sweep found, in sentences: which k keeps enough of the editing, how sure that is, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from sweeps.results import intervals, tradeoff
from sweeps.results.fronts import TEXT
from sweeps.results.retention import FIGURES, KEEP


def headlines(table: pd.DataFrame, sure: pd.DataFrame, share: float = KEEP) -> list[dict[str, str]]:
    """Per group of cells `title`, `finding` (which k keeps enough of the editing) and `scores` (what that costs).

    Args:
        table: what `ability.chosen` returns.
        sure: what `ability.with_drift` returns for the same share.
    """
    if table.empty:
        return []
    mean = tradeoff.over_seeds(table)
    best = tradeoff.smallest_k(table, share)
    found = []
    edited = mean[mean["setting"] != tradeoff.UNEDITED]
    for keys, group in edited.groupby(list(tradeoff.GROUP), dropna=False, sort=False):
        most = group["n_edits"].max()
        early = _ended_early(group, most)
        group = group[group["n_edits"] == most]
        title = place(keys[:3], group["batch_size"].iloc[0], most)
        candidates = best[(best[list(tradeoff.GROUP)] == list(keys)).all(axis=1)]
        unedited = mean[(mean["setting"] == tradeoff.UNEDITED) & (mean["model"] == keys[0])]
        known = sure[(sure[list(tradeoff.GROUP)] == list(keys)).all(axis=1)]
        said = _finding(group, candidates, unedited, known, share)
        found.append({"title": title} | said | {"finding": said["finding"] + early})
    return found


def _ended_early(group: pd.DataFrame, most: int) -> str:
    """What was not compared, as others of the group have more edits; nothing where all have as many."""
    early = group[group["n_edits"] < most]
    names = [
        f"{tradeoff.label(line['regularizer'], line['k'])} after {count(int(line['n_edits']), 'edit')}"
        for _, line in early.iterrows()
    ]
    return f" Not compared, with fewer edits: {', '.join(names)}." if names else ""


def place(names: Iterable[object], batch_size: float, n_edits: float) -> str:
    """What a group of cells is called: "gpt2, memit, batch-sequential, batches of 10, after 50 edits"."""
    parts = [*map(str, names), *([f"batches of {batch_size:g}"] if batch_size != 1 else [])]
    return ", ".join([*parts, *([] if math.isnan(n_edits) else [f"after {count(int(n_edits), 'edit')}"])])


def _finding(
    group: pd.DataFrame, candidates: pd.DataFrame, unedited: pd.DataFrame, sure: pd.DataFrame, share: float
) -> dict[str, str]:
    none = group[group["regularizer"] == "none"]
    ranked = candidates.assign(order=(candidates["regularizer"] != "rect")).sort_values("order", kind="stable")
    plain = sure[sure["regularizer"] == "none"]
    read = _drift if "ability" in group and (group["ability"] == TEXT).any() else _tasks
    if ranked.empty:
        finding, chosen = "No regularizer was run.", none
    elif math.isnan(ranked.iloc[0]["k"]):
        kind, reason = ranked.iloc[0]["regularizer"], ranked.iloc[0]["reason"]
        finding, chosen = f"{kind}: what it keeps of the editing is not known.", none
        known = group[(group["regularizer"] == kind) & group["edit_retention"].notna()]
        if len(known):
            chosen = known.sort_values("edit_retention", kind="stable").tail(1)
            mine = _level(sure, chosen.iloc[0])
            does = f"{tradeoff.label(kind, chosen.iloc[0]['k'])} {'keeps ' if read is _tasks else ''}"
            finding = f"{kind}: {reason} (share of the editing kept). {does}{read(chosen, none, mine, plain)}"
    else:
        first = ranked.iloc[0]
        chosen, mine = _level(group, first), _level(sure, first)
        name = tradeoff.label(first["regularizer"], first["k"])
        ks = [f"{k:g}" for k in sorted(group.loc[group["regularizer"] == first["regularizer"], "k"])]
        of = f" of {', '.join(ks)}" if len(ks) > 1 else ""
        finding = f"{name} is the smallest k{of} that keeps {share:.0%} of the editing: it keeps "
        finding += f"{_share(chosen, 'edit', mine)} of the editing and {read(chosen, none, mine, plain)}"
        finding += _how_sure(mine, share, len(ks))
    scores = [("unedited", unedited), ("unregularized", none)]
    if len(chosen) and chosen.iloc[0]["regularizer"] != "none":
        scores.append((tradeoff.label(chosen.iloc[0]["regularizer"], chosen.iloc[0]["k"]), chosen))
    tasks = _task_columns(group)
    figures = {"Mean task score": "task_score", "Drift": "drift", "Perplexity": "perplexity"}
    lines = [f"{title}: {', '.join(_each(scores, of))}." for title, of in figures.items() if _each(scores, of)]
    usable = int(group["retention_tasks"].max())
    if usable < len(tasks):
        lines.append(f"{usable} of the {len(tasks)} tasks stand above chance.")
    return {"finding": finding, "scores": " ".join(lines)}


def _task_columns(table: pd.DataFrame) -> list[str]:
    """The shares that are kept, task by task."""
    return [c for c in table.columns if c.endswith("_retention") and c not in ("edit_retention", "task_retention")]


def _level(table: pd.DataFrame, line: pd.Series) -> pd.DataFrame:
    """Its lines of the same regularizer and k."""
    return table[(table["regularizer"] == line["regularizer"]) & (table["k"] == line["k"])]


def _each(scores: Sequence[tuple[str, pd.DataFrame]], figure: str) -> list[str]:
    """ "unedited 0.400", "rect 40 0.250"; nothing where none was measured."""
    there = [(name, float(part[figure].iloc[0])) for name, part in scores if len(part)]
    there = [(name, value) for name, value in there if figure != "drift" or name != "unedited"]
    known = any(not math.isnan(value) for _, value in there)
    return [f"{name} {_number(value, 1 if figure == 'perplexity' else 3)}" for name, value in there] if known else []


def _tasks(chosen: pd.DataFrame, none: pd.DataFrame, sure: pd.DataFrame, plain: pd.DataFrame) -> str:
    """What a level keeps of the tasks, to end the sentence of what it keeps of the editing."""
    against = f", against {_share(none, 'task', plain)} of the tasks without regularization" if len(none) else ""
    return f"{_share(chosen, 'task', sure)} of the tasks{against}."


def _drift(chosen: pd.DataFrame, none: pd.DataFrame, sure: pd.DataFrame, plain: pd.DataFrame) -> str:
    """How far a level drifts, to end that sentence; and why that is told and not the tasks."""
    nats = " against ".join(_number(part["drift"].iloc[0]) for part in (chosen, none) if len(part))
    share, low, high, models, texts = (sure[f"drift_share{of}"].iloc[0] for of in FIGURES)
    if math.isnan(low):
        told = f"drifts by {nats} nats{' without regularization' if len(none) else ''}."
    else:
        over = f"{models} edited models" if models > 1 else f"its {count(int(texts), 'text')}"
        between = f"{max(low, 0.0):.0%} to {high:.0%} over {over}; {nats} nats"
        told = f"drifts {share:.0%} as far from the unedited model as without regularization ({between})."
        told += "" if high < 1 or low > 1 else " That it drifts less is not shown."
    if not _task_columns(chosen):
        return f"{told} No tasks were asked."
    if none.empty or none["retention_tasks"].max() == 0:
        return f"{told} The tasks cannot tell."
    return f"{told} The tasks cannot tell: of them {_share(none, 'task', plain)} is kept without regularization."


def _how_sure(sure: pd.DataFrame, share: float, tried: int) -> str:
    """Over several edited models whether enough is shown to be kept; of one only what its own facts leave open."""
    if sure.empty or math.isnan(sure["edit_retention_low"].iloc[0]):
        return ""
    line = sure.iloc[0]
    between = f" the smallest k is {_between(line['k_low'], line['k_high'])}" if tried > 1 else ""
    if line["edit_retention_models"] == 1:
        told = " This is one edited model: the intervals are over its own facts, examples and texts."
        return told + (f" Over its facts{between}." if between else "")
    shown = "is shown" if line["p_keeps"] < 1 - intervals.LEVEL else "is not shown"
    test = f"test of non-inferiority, p {p_text(line['p_keeps'])}"
    return f" That it keeps at least {share:.0%} {shown} ({test})" + (f"; by that test{between}." if between else ".")


def _between(low: float, high: float) -> str:
    if math.isinf(low):
        return "larger than any that was run"
    if math.isinf(high):
        return f"{low:g} or larger: none that was run is sure to be enough"
    return f"between {low:g} and {high:g}" if low < high else f"{low:g}"


def p_text(p: float) -> str:
    """ "= 0.012", "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def _share(line: pd.DataFrame, what: str, sure: pd.DataFrame) -> str:
    """ "97% (94% to 100% over 3 edited models)" of the first line, with its interval where there is one."""
    side = f"{what}_retention"
    value = line[side].iloc[0]
    if math.isnan(value):
        return "an unknown share"
    if sure.empty or math.isnan(sure[f"{side}_low"].iloc[0]):
        return f"{value:.0%}"
    low, high, models, units = (sure[f"{side}{name}"].iloc[0] for name in ("_low", "_high", "_models", "_units"))
    over = (
        f"{models} edited models" if models > 1 else f"its {count(int(units), 'fact' if what == 'edit' else 'example')}"
    )
    return f"{value:.0%} ({max(low, 0.0):.0%} to {high:.0%} over {over})"


def _number(value: float, digits: int = 3) -> str:
    return "unknown" if math.isnan(value) else f"{value:.{digits}f}"


def count(number: int, noun: str) -> str:
    """ "1 edit", "2 edits"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
