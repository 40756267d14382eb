"""What a sweep found: a table to the terminal, tradeoff.csv and report.html, all from the rows in its folder."""

from __future__ import annotations

import json
import logging
import os
import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from rich.console import Console
from rich.markup import escape

from rect import facts
from rect.errors import InputError
from sweeps import aggregate, bootstrap, collateral, report_page, search, terminal_table
from sweeps.headlines import headlines
from sweeps.report_page import Material
from sweeps.store import Store

if TYPE_CHECKING:
    from sweeps.identity import Plan

log = logging.getLogger(__name__)

TABLE = "tradeoff.csv"
PAGE = "report.html"
NAMED_FACTS = 500  # facts whose texts go into the page


def report(out: str | os.PathLike[str], console: Console | None = None, everything: bool = False) -> Material:
    """Print the trade-off, write `tradeoff.csv` and `report.html` into the folder. Returns what they were made of.

    Args:
        out: a sweep's folder, any fsspec path.
        console: where the table goes; default the terminal.
        everything: take all rows in the folder, not only those of its present configuration.

    Raises:
        InputError: there is no sweep in that folder.
    """
    material = gather(out, everything)
    store = Store(out)
    store.folder.write(TABLE, material.table.to_csv(index=False).encode())
    store.folder.write(PAGE, report_page.render(material).encode())
    show(material, console or Console())
    return material


def gather(out: str | os.PathLike[str], everything: bool = False) -> Material:
    """Read a sweep's folder: of the rows, those that its present configuration asks for, or everything."""
    store = Store(out)
    config = store.folder.read_or_none("config.yaml")
    rows, outputs = store.rows(), store.outputs()
    if config is None and rows.empty:
        raise InputError(f"{out}: there is no sweep in this folder (no config.yaml, no rows)")
    text = (config or b"").decode()
    if not ((yaml.safe_load(text) or {}).get("tasks") or {}).get("keep_texts", True):
        outputs = outputs.iloc[:0]  # an earlier run may have kept them
    environment: dict[str, Any] = json.loads(store.folder.read_or_none("environment.json") or b"{}")
    plan = None if everything else _plan(text, store)
    found = search.results(plan, rows) if plan else []
    there = set(rows["cell"]) - (plan.scanned if plan else frozenset())  # of those the search's own lines tell
    failures = store.failures()
    if plan is None:
        tasks = None
        failed = [(cell, reason) for cell, reason in failures.items()]
        missing: list[tuple[str, str]] = []
    else:
        rows, outputs = _asked_for(rows, plan), _asked_for(outputs, plan)
        tasks = [one.name for one in plan.questions]
        failed = [(str(cell), failures[cell.id]) for cell in plan.cells if cell.id in failures]
        missing = _missing(plan, store, failures)
    return Material(
        name=(yaml.safe_load(text) or {}).get("name") or os.fspath(out).rstrip("/").rpartition("/")[2],
        rows=rows,
        outputs=outputs,
        table=aggregate.tradeoff(rows, tasks),
        planned=len(plan.cells) - len(plan.scanned) if plan else None,
        failed=failed,
        missing=missing,
        left_out=len(there) - rows["cell"].nunique(),
        search=found,
        facts=_fact_names(plan, rows) if plan else {},
        command=_command(environment.pop("command", [])),
        environment=environment,
        config=text,
    )


def _fact_names(plan: Plan, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The facts that rows of their own tell about, in the order of editing, as `measure.editing` counts.

    Per seed: {"0": ...}; for a model that skips some also {"0 MODEL": ...}.
    """
    count = rows["name"].str.extract(r"/fact-(\d+)$", expand=False).astype(float).max()
    if pd.isna(count):
        return {}
    named = min(int(count) + 1, NAMED_FACTS)
    seeds = sorted({cell.seed for cell in plan.cells if cell.method})
    found = {}
    for model, out in [("", {}), *((f" {model.name}", out) for model, out in plan.skipped.items() if out)]:
        for seed in seeds:
            drawn = facts.distinct(facts.draw(plan.facts, seed, len(plan.facts), out))[:named]
            found[f"{seed}{model}"] = [f"{fact.filled}: {fact.target}" for fact in drawn]
    return found


def _command(words: list[str]) -> str:
    """The command of the run as one would type it, wherever the program lies."""
    if not words:
        return ""
    program = "sweeps" if PurePath(words[0]).name in ("sweeps", "__main__.py") else words[0]
    return shlex.join([program, *words[1:]])


def _plan(config: str, store: Store) -> Plan | None:
    """The plan of the folder's configuration, or None where its facts or examples are not to be had here."""
    from sweeps.config import validate
    from sweeps.identity import make_plan

    if not config:
        return None
    try:
        return search.decided(make_plan(validate(yaml.safe_load(config), store.folder.path("config.yaml"))), store)
    except InputError as error:
        log.warning("all rows of %s are shown, whichever configuration they belong to: %s", store.url, error)
        return None


def _asked_for(frame: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Rows or outputs of the plan's cells and evaluations; rows of kind `time` belong to no evaluation."""
    cells = {cell.id for cell in plan.cells} - plan.scanned
    wanted = {evaluation for cell in plan.cells for evaluation in plan.wanted(cell)} | {plan.stopped}
    keep = frame["evaluation"].isin(wanted)
    if "kind" in frame:
        keep |= frame["kind"] == "time"
    return frame[frame["cell"].isin(cells) & keep].reset_index(drop=True)


def _missing(plan: Plan, store: Store, failures: dict[str, str]) -> list[tuple[str, str]]:
    done = store.done()
    found = []
    for cell in plan.cells:
        missing = plan.missing(cell, done)
        if not missing or cell.id in failures or cell.id in plan.scanned:
            continue
        names = plan.wanted(cell)
        if all(len(missing.get(n, ())) == len(names) for n in cell.checkpoints):
            what = "no result"
        else:
            parts = [f"{', '.join(sorted(names[one] for one in gone))} at {n} edits" for n, gone in missing.items()]
            what = f"missing: {'; '.join(parts)}"
        found.append((str(cell), what))
    return found


def show(material: Material, console: Console) -> None:
    """The trade-off table, the headline, and what failed or is missing."""
    if material.table.empty:
        console.print("There are no results yet.")
    else:
        console.print(terminal_table.of(material.table))
        for headline in headlines(material.table, bootstrap.edit_retention(material.rows)):
            console.print(f"[bold]{escape(headline['title'])}[/bold]: {escape(headline['finding'])}", highlight=False)
            console.print(escape(headline["scores"]), highlight=False)
        for reason, count in report_page.reasons(material.table):
            console.print(f"[dim]{escape(reason)} ({count} {'cell' if count == 1 else 'cells'})[/dim]", highlight=False)
    for line in collateral.found(material.rows):
        console.print(escape(line), style="yellow", highlight=False)
    for one in material.search:
        console.print(f"[bold]search, {escape(one.title)}[/bold]: {escape(one.finding)}", highlight=False)
    if material.left_out:
        console.print(left_out(material.left_out), style="yellow", highlight=False)
    for title, style, lines in (("failed", "red", material.failed), ("not finished", "yellow", material.missing)):
        for cell, reason in lines:
            first = reason.strip().splitlines()[0] if reason.strip() else "no reason was recorded"
            console.print(f"[{style}]{title}[/{style}] {escape(cell)}: {escape(first)}", highlight=False)


def left_out(number: int) -> str:
    """What is said of cells that the configuration does not ask for."""
    cells = "1 cell" if number == 1 else f"{number} cells"
    return f"{cells} of another configuration or an earlier version left out; sweeps report --all shows all there is"
