"""report.html: one self-contained page with the headline, the trade-off, the curves, the table and example outputs.

Python computes everything that is a number and hands it over as JSON, embedded once; the script in `templates/`
only draws, filters and sorts. Nothing is fetched: plotly.js is embedded, and the page's own policy forbids connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from sweeps.plan.search import Found
from sweeps.report import answers, controls
from sweeps.report.examples import examples
from sweeps.report.plain import plain
from sweeps.results import ability, collateral, curves, retention, tradeoff
from sweeps.results.fronts import TEXT
from sweeps.results.headlines import headlines
from sweeps.store.outputs import Outputs

FACT_CELLS = 500
"""Cells whose per-fact scores are embedded at most."""


@dataclass(frozen=True)
class Material:
    """What the page is made of.

    Attributes:
        rows, outputs: the sweep's tables as `sweeps.store.store` returns them; of the outputs, scores will do.
        texts: where the outputs' texts are read; None: they stand in `outputs`.
        table: `tradeoff.tradeoff(rows)`.
        planned: number of cells of the configuration, None where it is not known.
        failed: (cell, reason) of cells that failed.
        missing: (cell, what is missing) of cells that have not finished for another reason.
        left_out: number of cells in the folder that the configuration does not ask for.
        facts: per seed ("0"; "0 MODEL" where that model skips some) the facts in the order of editing, "The capital of
            France is: Rome".
        search: what a search over k found.
        remarks: what `sweeps.plan.remarks` says of the plan.
        environments: versions, host and command of each run that measured these rows, the earliest first.
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
    left_out: int = 0
    facts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    search: Sequence[Found] = ()
    remarks: Sequence[str] = ()
    environments: Sequence[Mapping[str, Any]] = ()
    config: str = ""
    command: str = ""
    texts: Outputs | None = None

    @property
    def said(self) -> Outputs:
        """The outputs with their texts, read when somebody asks."""
        return Outputs.held(self.outputs) if self.texts is None else self.texts

    @cached_property
    def sides(self) -> dict[str, retention.Sides]:
        """What the errors of each cell's figures are made of."""
        return {} if self.table.empty else retention.sides(self.rows, self.outputs, self.table)

    @cached_property
    def kept(self) -> pd.DataFrame:
        """What each regularizer keeps, and how far it drifts, with intervals."""
        return ability.with_drift(retention.kept(self.table, self.sides), self.rows, self.table)

    @cached_property
    def tradeoff(self) -> pd.DataFrame:
        """`table` with the ability that it is read from, and the front by that."""
        return ability.chosen(self.table, self.kept)


def render(material: Material) -> str:
    """The page as text."""
    import jinja2
    import plotly.offline

    loader = jinja2.PackageLoader("sweeps.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html.j2").render(
        material=material,
        headlines=headlines(material.tradeoff, material.kept),
        reasons=reasons(material.tradeoff),
        collateral=collateral.found(material.rows),
        beside=answers.beside(material.rows, material.table),
        alike=answers.alike(material.table),
        data=page_data(material),
        environments=[flat(one) for one in material.environments],
        plotly=plotly.offline.get_plotlyjs(),
    )


def reasons(table: pd.DataFrame) -> list[tuple[str, int]]:
    """Why values are missing in the table, each reason once with the number of cells it holds for."""
    counts = Counter(note for notes in table["notes"] for note in notes.split("; ") if note)
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def page_data(material: Material) -> dict[str, Any]:
    """All that the page's script draws, as plain JSON-able data without NaN."""
    table = material.tradeoff
    read = table.loc[table["setting"] != tradeoff.UNEDITED, "ability"]
    columns = [c for c in table.columns if c != "notes"]
    return {
        "columns": columns,
        "cells": [[plain(value) for value in line] for line in table[columns].itertuples(index=False, name=None)],
        "tasks": tradeoff.task_names(material.rows),
        "ability": "drift" if (read == TEXT).mean() > 0.5 else "task_retention",
        "curves": _curves(material.rows),
        "paired": controls.paired(material.rows, material.outputs),
        "ranking": controls.ranking(table, material.sides),
        "fact_names": {which: list(names) for which, names in material.facts.items()},
        "facts": _facts(material.rows, list(table["cell"])),
        "examples": examples(material.said, table),
    }


def _curves(rows: pd.DataFrame) -> dict[str, Any]:
    """`curves.curves`, packed: what many lines share is there once.

    `groups`: the columns of what a line belongs to; `names` of measurements; `edits`: lists of numbers of edits;
    `lines`: [group, name, edits, means, half widths of the interval, edited models it is over]: 1 where it is over the
    facts or examples of one.
    """
    points = curves.curves(rows)
    ids = ["model", "method", "setting", "batch_size", "regularizer", "k"]
    packed: dict[str, dict[Any, int]] = {"groups": {}, "names": {}, "edits": {}}

    def place(what: str, value: Any) -> int:
        return packed[what].setdefault(value, len(packed[what]))

    values = ["n_edits", "mean", "high", "seeds"]
    lines = []
    for keys, group in points.groupby([*ids, "name"], dropna=False, sort=False):
        edits, mean, high, seeds = (group[column].tolist() for column in values)
        half = [value - m for value, m in zip(high, mean, strict=True)]
        where = place("groups", tuple(plain(value) for value in keys[:-1])), place("names", keys[-1])
        numbers = [plain(value) for value in mean], [plain(value, 3) for value in half]
        lines.append([*where, place("edits", tuple(edits)), *numbers, max(seeds)])
    return {"ids": ids, **{what: [*found] for what, found in packed.items()}, "lines": lines}


def _facts(rows: pd.DataFrame, cells: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per cell: the checkpoints, and for each the reliability (token accuracy) of each fact edited so far."""
    prefix = "reliability/token_accuracy/fact-"
    part = rows[(rows["kind"] == "edit") & rows["name"].str.startswith(prefix) & rows["cell"].isin(cells[:FACT_CELLS])]
    part = part.assign(fact=part["name"].str.removeprefix(prefix).astype(int))
    found: dict[str, dict[str, Any]] = {}
    for cell, group in part.groupby("cell", sort=False):
        wide = group.pivot_table(index="fact", columns="n_edits", values="value")
        wide = wide.reindex(range(int(wide.index.max()) + 1))
        values = [[plain(v) for v in line] for line in wide.to_numpy()]
        found[str(cell)] = {"points": [int(p) for p in wide.columns], "values": values}
    return found


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
