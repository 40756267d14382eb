"""The rows of a sweep's folder that its present configuration asks for: what every command that shows results reads.

A folder may hold cells of earlier configurations and of earlier versions. They are left out, or, where all is wanted or
the configuration cannot be planned here, kept apart: cells that look the same are never taken for one another.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import yaml

from modelfolder.errors import InputError
from sweeps.plan import search
from sweeps.plan.kept import KeptPlan, kept_plan
from sweeps.results.tradeoff import IDS, UNEDITED
from sweeps.store.outputs import Outputs
from sweeps.store.store import Store

log = logging.getLogger(__name__)

SHORT = 6  # hex digits of a cell's id that tell it from others that look the same


@dataclass(frozen=True)
class Asked:
    """What was read.

    Attributes:
        rows: as `Store` returns them, of the cells that are asked for; the axes are as they are called now.
        outputs: of these cells; read when somebody asks.
        plan: of the folder's configuration; None where all rows are taken.
        config: the configuration as it lies there, plain data and text; empty where there is none.
        left_out: number of cells in the folder that are not asked for.
        search: what a search over k found.
    """

    store: Store
    rows: pd.DataFrame
    outputs: Outputs
    plan: KeptPlan | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    left_out: int = 0
    search: tuple[search.Found, ...] = ()

    def needed(self) -> Asked:
        """Itself. Raises InputError where there is no row to show."""
        if self.rows.empty:
            more = f" that its configuration asks for: {told(self.left_out)}" if self.left_out else ""
            raise InputError(f"{self.store.url}: there are no rows in this folder{more}")
        return self


def read(out: str | os.PathLike[str], everything: bool = False) -> Asked:
    """The rows and outputs of a folder's present configuration, or everything in it."""
    store = Store(out)
    text = (store.folder.read_or_none("config.yaml") or b"").decode()
    config = yaml.safe_load(text) or {}
    rows = store.rows()
    texts = bool((config.get("tasks") or {}).get("keep_texts", True))  # an earlier run may have kept them
    plan = None if everything else plan_of(text, store)
    if plan is None:
        return Asked(store, apart(rows), store.outputs_of(texts=texts), None, config, text)
    found = search.results(plan, rows)
    there = set(rows["cell"]) - plan.scanned  # of those the search's own lines tell
    cells, evaluations = _wanted(plan, store.judged())
    asked = rows["evaluation"].isin(evaluations) | (rows["kind"] == "time")  # times belong to no evaluation
    rows = rows[rows["cell"].isin(cells) & asked].reset_index(drop=True)
    outputs = store.outputs_of(cells, evaluations, texts)
    left_out = len(there) - rows["cell"].nunique()
    return Asked(store, _as_called(rows, plan), outputs, plan, config, text, left_out, tuple(found))


def told(left_out: int) -> str:
    """What is said of cells that the configuration does not ask for."""
    cells = "1 cell" if left_out == 1 else f"{left_out} cells"
    return f"{cells} of another configuration or an earlier version left out; --all takes all there is"


def apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in which no two cells look the same: those that would get a part of their id behind the method's name.

    Of unedited cells the model's name gets it, so that no edited cell is compared with one that may be another model's.
    """
    axes = rows.drop_duplicates("cell")[["cell", *IDS]]
    alike = axes[axes.duplicated(list(IDS), keep=False)]
    if alike.empty:
        return rows
    rows = rows.copy()
    for column, part in (
        ("model", alike[alike["setting"] == UNEDITED]),
        ("method", alike[alike["setting"] != UNEDITED]),
    ):
        own = {cell: f"{name} ({cell[:SHORT]})" for cell, name in zip(part["cell"], part[column], strict=True)}
        rows[column] = rows["cell"].map(own).fillna(rows[column])
    return rows


def plan_of(config: str, store: Store) -> KeptPlan | None:
    """The plan of a folder's configuration; None where it has none, or its facts or examples are not to be had here."""
    if not config:
        return None
    try:
        return kept_plan(store)
    except InputError as error:
        log.warning("all rows of %s are shown, whichever configuration they belong to: %s", store.url, error)
        return None


def _wanted(plan: KeptPlan, judged: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """The plan's cells and evaluations, with what a judge says of these."""
    cells = {cell.id for cell in plan.cells} - plan.scanned
    wanted = {evaluation for cell in plan.cells for evaluation in plan.wanted(cell)} | {plan.stopped}
    return cells, wanted | {judge for judge, of in judged.items() if of in wanted}


def _as_called(rows: pd.DataFrame, plan: KeptPlan) -> pd.DataFrame:
    """The axes by their present names: a label may have changed since a cell was run, its id has not."""
    axes: Iterable[dict[str, Any]] = ({"cell": cell.id, **cell.axes()} for cell in plan.cells)
    named = rows[["cell"]].merge(pd.DataFrame(axes, columns=["cell", *IDS]).drop_duplicates("cell"), how="left")
    return rows.assign(**{name: named[name].astype(rows[name].dtype).to_numpy() for name in IDS})
