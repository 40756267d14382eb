"""report.html: one self-contained page with the headline, the trade-off, the curves, the table and example outputs.

Python computes everything that is a number and hands it over as JSON, embedded once; the script in `templates/`
only draws, filters and sorts. Nothing is fetched: plotly.js is embedded, and the page's own policy forbids connections.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sweeps import aggregate

KEEP = 0.95
"""Share of the editing that the headline asks a regularizer to keep."""

EXAMPLE_CHARACTERS = 1_500_000
"""Budget of the example outputs in the page; what does not fit stays in `outputs/`."""

FACT_CELLS = 500
"""Cells whose per-fact scores are embedded at most."""


@dataclass(frozen=True)
class Material:
    """What the page is made of.

    Attributes:
        rows, outputs: the sweep's tables as `sweeps.store` returns them.
        table: `aggregate.tradeoff(rows)`.
        planned: number of cells of the configuration, None where it is not known.
        failed: (cell, reason) of cells that failed.
        missing: (cell, what is missing) of cells that have not finished for another reason.
        facts: per seed the facts in the order of editing, "The capital of France is: Rome".
        config: the configuration as resolved, YAML.
        command: what reproduces the sweep.
    """

    name: str
    rows: pd.DataFrame
    outputs: pd.DataFrame
    table: pd.DataFrame
    planned: int | None = None
    failed: Sequence[tuple[str, str]] = ()
    missing: Sequence[tuple[str, str]] = ()
    facts: Mapping[int, Sequence[str]] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    command: str = ""


def render(material: Material) -> str:
    """The page as text."""
    import jinja2
    import plotly.offline

    loader = jinja2.PackageLoader("sweeps", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html.j2").render(
        material=material,
        headlines=headlines(material.table),
        reasons=reasons(material.table),
        data=page_data(material),
        environment=flat(material.environment),
        plotly=plotly.offline.get_plotlyjs(),
    )


def headlines(table: pd.DataFrame, share: float = KEEP) -> list[dict[str, str]]:
    """Per group of cells: `title`, `finding` (which k keeps enough of the editing) and `scores` (what that costs)."""
    if table.empty:
        return []
    mean = aggregate.over_seeds(table)
    best = aggregate.smallest_k(table, share)
    found = []
    edited = mean[mean["setting"] != aggregate.UNEDITED]
    for keys, group in edited.groupby(list(aggregate.GROUP), dropna=False, sort=False):
        model, method, setting, batch = keys
        group = group[group["n_edits"] == group["n_edits"].max()]
        title = ", ".join([str(model), str(method), str(setting), *([f"batches of {batch}"] if batch != 1 else [])])
        title += f", after {_count(int(group['n_edits'].iloc[0]), 'edit')}"
        candidates = best[(best[list(aggregate.GROUP)] == list(keys)).all(axis=1)]
        unedited = mean[(mean["setting"] == aggregate.UNEDITED) & (mean["model"] == model)]
        found.append({"title": title} | _finding(group, candidates, unedited, share))
    return found


def _finding(group: pd.DataFrame, candidates: pd.DataFrame, unedited: pd.DataFrame, share: float) -> dict[str, str]:
    none = group[group["regularizer"] == "none"]
    ranked = candidates.assign(order=(candidates["regularizer"] != "rect")).sort_values("order", kind="stable")
    if ranked.empty:
        finding, chosen = "No regularizer was run.", none
    elif math.isnan(ranked.iloc[0]["k"]):
        finding, chosen = f"{ranked.iloc[0]['regularizer']}: {ranked.iloc[0]['reason']} of the editing.", none
    else:
        first = ranked.iloc[0]
        chosen = group[(group["regularizer"] == first["regularizer"]) & (group["k"] == first["k"])]
        name = aggregate.label(first["regularizer"], first["k"])
        finding = f"{name} is the smallest k that keeps {share:.0%} of the editing: it keeps {_share(chosen, 'edit')}"
        finding += f" of the editing and {_share(chosen, 'task')} of the tasks"
        finding += f", against {_share(none, 'task')} of the tasks without regularization." if len(none) else "."
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


def _share(line: pd.DataFrame, what: str) -> str:
    """ "97% (94% to 100%)" of the first line, with the interval over seeds where there is one."""
    value = line[f"{what}_retention"].iloc[0]
    if math.isnan(value):
        return "an unknown share"
    low, high = line[f"{what}_retention_low"].iloc[0], line[f"{what}_retention_high"].iloc[0]
    bounds = "" if math.isnan(low) else f" ({max(low, 0.0):.0%} to {high:.0%} over {line['seeds'].iloc[0]} seeds)"
    return f"{value:.0%}{bounds}"


def reasons(table: pd.DataFrame) -> list[tuple[str, int]]:
    """Why values are missing in the table, each reason once with the number of cells it holds for."""
    counts = Counter(note for notes in table["notes"] for note in notes.split("; ") if note)
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def page_data(material: Material) -> dict[str, Any]:
    """All that the page's script draws, as plain JSON-able data without NaN."""
    table = material.table
    columns = [c for c in table.columns if c != "notes"]
    return {
        "columns": columns,
        "cells": [[_plain(value) for value in line] for line in table[columns].itertuples(index=False, name=None)],
        "tasks": aggregate.task_names(material.rows),
        "curves": _curves(material.rows),
        "fact_names": {str(seed): list(names) for seed, names in material.facts.items()},
        "facts": _facts(material.rows, list(table["cell"])),
        "examples": _examples(material.outputs, table),
    }


def _curves(rows: pd.DataFrame) -> list[dict[str, Any]]:
    points = aggregate.curves(rows)
    ids = ["model", "method", "setting", "batch_size", "regularizer", "k", "name"]
    lines = []
    for keys, group in points.groupby(ids, dropna=False, sort=False):
        line = {name: _plain(value) for name, value in zip(ids, keys, strict=True)}
        series = {"x": "n_edits", "y": "mean", "low": "low", "high": "high", "stderr": "stderr", "seeds": "seeds"}
        lines.append(line | {short: [_plain(v) for v in group[column]] for short, column in series.items()})
    return lines


def _facts(rows: pd.DataFrame, cells: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per cell: the checkpoints, and for each the reliability (token accuracy) of each fact edited so far."""
    prefix = "reliability/token_accuracy/fact-"
    part = rows[(rows["kind"] == "edit") & rows["name"].str.startswith(prefix) & rows["cell"].isin(cells[:FACT_CELLS])]
    part = part.assign(fact=part["name"].str.removeprefix(prefix).astype(int))
    found: dict[str, dict[str, Any]] = {}
    for cell, group in part.groupby("cell", sort=False):
        wide = group.pivot_table(index="fact", columns="n_edits", values="value")
        wide = wide.reindex(range(int(wide.index.max()) + 1))
        values = [[_plain(v) for v in line] for line in wide.to_numpy()]
        found[str(cell)] = {"points": [int(p) for p in wide.columns], "values": values}
    return found


def _examples(outputs: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """Prompts once, and what each cell answered at its last checkpoint, as far as the budget goes.

    `prompts`: {task: {index: [prompt, gold]}}, `outputs`: {cell: {task: {index: [output, score]}}}, `left_out`: number
    of cells without examples here. Unedited, unregularized and front cells go first.
    """
    found: dict[str, Any] = {"prompts": {}, "outputs": {}, "left_out": 0}
    if outputs.empty or table.empty:
        return found
    order = table.assign(
        last=~((table["setting"] == aggregate.UNEDITED) | (table["regularizer"] == "none") | table["pareto"])
    ).sort_values("last", kind="stable")
    last = outputs.merge(order[["cell", "n_edits"]], on=["cell", "n_edits"]).sort_values(["task", "index"])
    by_cell = dict(iter(last.groupby("cell", sort=False)))
    left = EXAMPLE_CHARACTERS
    for cell in order["cell"]:
        group = by_cell.get(cell)
        if group is None:
            continue
        size = int(group["output"].str.len().sum()) + 20 * len(group)
        if size > left:
            found["left_out"] += 1
            continue
        left -= size
        mine = found["outputs"].setdefault(cell, {})
        columns = group[["task", "index", "prompt", "output", "gold", "score"]]
        for task, index, prompt, output, gold, score in columns.itertuples(index=False, name=None):
            mine.setdefault(task, {})[str(index)] = [output, _plain(score)]
            prompts = found["prompts"].setdefault(task, {})
            if str(index) not in prompts:
                prompts[str(index)] = [prompt, _gold(gold)]
                left -= len(prompt)
    return found


def _gold(text: Any) -> str:
    """The right answer as a person writes it: JSON strings without quotes, lists with commas."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError):
        return str(text)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as (dotted key, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            pairs += flat(value, f"{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            pairs += flat({str(i): item for i, item in enumerate(value)}, f"{name}.")
        elif isinstance(value, Iterable) and not isinstance(value, str):
            pairs.append((name, ", ".join(map(str, value))))
        else:
            pairs.append((name, "" if value is None else str(value)))
    return pairs


def _plain(value: Any) -> Any:
    """A JSON-able value: numpy's scalars become Python's, NaN None, infinity a word, floats five significant digits."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return None if math.isnan(value) else float(f"{value:.5g}")
    return value


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
