"""Looking for k: the smallest that keeps a share of the editing, or the front of editing against ability.

What a search has picked lies in the store (`search/<search>-<cell>.json`), so a search that was interrupted, `status`
and `report` know it. A picked cell is an ordinary cell of the grid: it gets everything that the configuration asks for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from sweeps.config.search import SearchSpec
from sweeps.plan import skipped
from sweeps.plan.chain import identify
from sweeps.plan.grid import Cell
from sweeps.plan.identity import Plan
from sweeps.plan.outline import Outline
from sweeps.results import tradeoff
from sweeps.results.fronts import pareto
from sweeps.results.headlines import place
from sweeps.results.tradeoff import GROUP
from sweeps.store.store import Store

RESULT = "search.json"
P = TypeVar("P", bound=Outline)


@dataclass(frozen=True)
class Found:
    """What a search found in one group of cells with one regularizer.

    Attributes:
        title: the group.
        finding: in a sentence.
        points: what was tried: k, edit_score, edit_retention, ability, pareto; sorted by k.
    """

    title: str
    finding: str
    points: pd.DataFrame

    def rows(self) -> list[dict[str, str]]:
        """The points as text."""
        shown = self.points.map(_number, na_action=None).to_dict("records")
        return [{str(name): text for name, text in line.items()} for line in shown]

    def record(self) -> dict[str, Any]:
        """As JSON-able data."""
        points = json.loads(self.points.to_json(orient="records"))
        return {"title": self.title, "finding": self.finding, "points": points}


def _number(value: float | bool) -> str:
    if value is True or value is False or isinstance(value, np.bool_):
        return "*" if value else ""
    return "-" if math.isnan(value) else f"{value:.4g}"


def search_id(plan: Outline) -> str:
    """Of what is looked for; more trials of the same search, or another place for its study, is the same search."""
    assert plan.config.search is not None
    wanted = plan.config.search.model_dump(mode="json", exclude={"optuna": {"trials", "storage"}})
    return identify("search", wanted)[:16]


def pick(plan: Plan, store: Store, cells: Iterable[Cell]) -> None:
    """Note that these cells are wanted whole from now on."""
    for cell in cells:
        name = f"search/{search_id(plan)}-{cell.id}.json"
        store.folder.write_if_absent(name, json.dumps({"cell": cell.id, "shown": str(cell)}).encode())


def decided(plan: Plan, store: Store) -> Plan:
    """The plan with what runs have found out so far: the facts that are skipped, and what its search has picked."""
    return picked(skipped.known(plan, store), store)


def picked(plan: P, store: Store) -> P:
    """The plan with the cells that its search has picked."""
    if plan.config.search is None:
        return plan
    prefix = f"search/{search_id(plan)}-"
    names = store.folder.names("search", ".json")
    chosen = {name.removeprefix(prefix).removesuffix(".json") for name in names if name.startswith(prefix)}
    cells = (*plan.cells, *(cell for cell in plan.candidates if cell.id in chosen))
    candidates = tuple(cell for cell in plan.candidates if cell.id not in chosen)
    return replace(plan, cells=cells, candidates=candidates, scanned=plan.scanned - chosen)


def scan(plan: Plan) -> Plan:
    """The first half of a search for the smallest k: nothing but the edit metrics of every k, and of k = all."""
    assert plan.config.search is not None
    looked = {"none", *plan.config.search.regularizers}
    cells = tuple(cell for cell in plan.cells if cell.method is not None and cell.regularizer in looked)
    return replace(plan, cells=cells, scanned=frozenset(cell.id for cell in cells))


def smallest(plan: Outline, rows: pd.DataFrame) -> pd.DataFrame:
    """Per group and regularizer the smallest k of the search that keeps the share (`tradeoff.smallest_k`)."""
    spec = plan.config.search
    assert spec is not None
    assert spec.keep_at_least is not None
    own = {cell.id for cell in plan.cells}
    tried = rows["regularizer"].isin(spec.regularizers) & rows["k"].isin(spec.ks)
    rows = rows[rows["cell"].isin(own) & (rows["kind"] == "edit") & (tried | (rows["regularizer"] == "none"))]
    return tradeoff.smallest_k(tradeoff.tradeoff(rows, []), spec.keep_at_least)


def chosen(plan: Outline, rows: pd.DataFrame) -> list[Cell]:
    """The cells, of all seeds, at the smallest k of each group."""
    columns = [*GROUP, "regularizer", "k"]
    wanted = set(smallest(plan, rows)[columns].itertuples(index=False, name=None))
    return [cell for cell in plan.cells if itemgetter(*columns)(cell.axes()) in wanted]


def objectives(plan: Outline, rows: pd.DataFrame) -> pd.DataFrame:
    """What Optuna weighs, per cell at its last checkpoint: the columns of `tradeoff.tradeoff` and `ability`.

    `ability` is the mean retention over the tasks, or the unedited model's perplexity over the edited one's. A
    cell that ended before its last checkpoint has neither it nor an `edit_score`: after fewer edits it would beat the
    others.
    """
    spec = plan.config.search
    table = tradeoff.tradeoff(rows, plan.tasks)
    if spec is not None and spec.optuna is not None and spec.optuna.ability == "perplexity":
        unedited = table[table["setting"] == tradeoff.UNEDITED].set_index("model")["perplexity"]
        table = table.assign(ability=table["model"].map(unedited) / table["perplexity"])
    else:
        table = table.assign(ability=table["task_retention"])
    ends = {cell.id: cell.checkpoints[-1] for cell in (*plan.cells, *plan.candidates)}
    whole = table["n_edits"] >= table["cell"].map(ends)
    return table.assign(ability=table["ability"].where(whole), edit_score=table["edit_score"].where(whole))


def results(plan: Outline, rows: pd.DataFrame) -> list[Found]:
    """What the search of a plan found, from the rows that are there; nothing where it has none."""
    spec = plan.config.search
    if spec is None or rows.empty:
        return []
    table = objectives(plan, rows[rows["cell"].isin({cell.id for cell in plan.cells})])
    tried = table[table["regularizer"].isin(spec.regularizers) & table["k"].isin(spec.ks)]
    best = smallest(plan, rows) if spec.keep_at_least else pd.DataFrame()
    found = []
    columns = ["edit_score", "edit_retention", "ability"]
    for keys, group in tried.groupby([*GROUP, "regularizer"], dropna=False, sort=False):
        points = group.groupby("k")[columns].mean().reset_index()
        points["pareto"] = pareto(points, "edit_score", "ability")
        if spec.keep_at_least:
            line = best[(best[[*GROUP, "regularizer"]] == list(keys)).all(axis=1)].iloc[0]
            finding = _keeps(line, points, spec)
        else:
            finding = _front(points)
        title = place(keys[:3], group["batch_size"].iloc[0], math.nan)
        found.append(Found(f"{title}, {keys[4]}", finding, points))
    return found


def _keeps(line: pd.Series, points: pd.DataFrame, spec: SearchSpec) -> str:
    assert spec.keep_at_least is not None
    tried = f"{len(points)} values of k from {points['k'].min():g} to {points['k'].max():g}"
    if math.isnan(line["k"]):
        return f"Of {tried}: {line['reason']}."
    at = points[points["k"] == line["k"]].iloc[0]
    known = not math.isnan(at["ability"])
    ability = f" and {at['ability']:.0%} of the tasks." if known else "; what it keeps of the tasks is not known."
    return (
        f"k = {line['k']:g} is the smallest of {tried} that keeps {spec.keep_at_least:.0%} of the editing: "
        f"it keeps {line['edit_retention']:.0%} of the editing{ability}"
    )


def _front(points: pd.DataFrame) -> str:
    front = points[points["pareto"]].sort_values("k")
    shown = ", ".join(f"{k:g}" for k in front["k"])
    return f"Of {len(points)} values of k tried, {len(front)} are on the front of editing against ability: {shown}."


def write_result(plan: Plan, store: Store) -> list[Found]:
    """Keep what was found in the folder."""
    found = results(plan, store.rows())
    store.folder.write(RESULT, json.dumps([one.record() for one in found], indent=2).encode())
    return found
