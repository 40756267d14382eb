"""What a sweep found: a table to the terminal, tradeoff.csv and report.html, all from the rows in its folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import PurePath

import pandas as pd
from rich.console import Console
from rich.markup import escape

from modelfolder.errors import InputError
from sweeps.plan import asked
from sweeps.plan.kept import CONFIG, KeptPlan
from sweeps.report import answers, terminal, webpage
from sweeps.report.together import together
from sweeps.report.webpage import Material
from sweeps.results import collateral, tradeoff
from sweeps.results.headlines import headlines
from sweeps.store.folder import Folder
from sweeps.store.store import Store

TABLE = "tradeoff.csv"
PAGE = "report.html"


def report(out: str | os.PathLike[str], console: Console | None = None, everything: bool = False) -> Material:
    """Print the trade-off, write `tradeoff.csv` and `report.html` into the folder. Returns what they were made of.

    Args:
        out: a sweep's folder, any fsspec path.
        console: where the table goes; default the terminal.
        everything: take all rows in the folder, not only those of its present configuration.

    Raises:
        InputError: there is no sweep in that folder.
    """
    folder = Store(out).folder
    folder.check_writable(os.fspath(out))
    return _left(gather(out, everything), folder, console)


def report_together(
    sweeps: Sequence[str], out: str | os.PathLike[str], console: Console | None = None, everything: bool = False
) -> Material:
    """As `report`, of several sweeps in a folder of its own.

    Raises:
        InputError: two of their folders have one name, one has no sweep, or `out` is a sweep's folder.
    """
    folder = Folder(out)
    folder.check_writable(f"--out {os.fspath(out)}")
    if folder.exists(CONFIG):
        raise InputError(f"--out {os.fspath(out)}: is a sweep's folder; name one of its own for several sweeps' report")
    return _left(gathered(sweeps, _last(out), everything), folder, console)


def _left(material: Material, folder: Folder, console: Console | None) -> Material:
    folder.write(TABLE, material.tradeoff.to_csv(index=False).encode())
    folder.write(PAGE, webpage.render(material).encode())
    show(material, console or Console())
    return material


def gathered(sweeps: Sequence[str], name: str, everything: bool = False) -> Material:
    """What several sweeps' folders have, each called by the last part of its path.

    Raises:
        InputError: two are called alike, or there is no sweep in one.
    """
    names = [_last(one) for one in sweeps]
    for one in names:
        if names.count(one) > 1:
            raise InputError(f"two of the folders are called {one!r}, as their sweeps would be: rename one")
    return together(name, {own: gather(out, everything) for own, out in zip(names, sweeps, strict=True)})


def _last(out: str | os.PathLike[str]) -> str:
    """The last part of a folder's path."""
    return PurePath(Folder(out).root).name or os.fspath(out)


def gather(out: str | os.PathLike[str], everything: bool = False) -> Material:
    """Read a sweep's folder: of the rows, those that its present configuration asks for, or everything."""
    found = asked.read(out, everything)
    store, plan, rows = found.store, found.plan, found.rows
    if not found.text and rows.empty:
        raise InputError(f"{out}: there is no sweep in this folder (no config.yaml, no rows)")
    failures = store.failures()
    if plan is None:
        failed = [(cell, reason) for cell, reason in failures.items()]
        missing: list[tuple[str, str]] = []
    else:
        failed = [(str(cell), failures[cell.id]) for cell in plan.cells if cell.id in failures]
        missing = _missing(plan, store, failures)
    named = set(rows["environment"])
    environments = [about for name, about in store.environments().items() if name in named or not named]
    return Material(
        name=found.config.get("name") or _last(out),
        rows=rows,
        outputs=found.outputs.scores(),
        texts=found.outputs,
        table=tradeoff.tradeoff(rows, plan.tasks if plan else None),
        planned=len(plan.cells) - len(plan.scanned) if plan else None,
        failed=failed,
        missing=missing,
        left_out=found.left_out,
        search=found.search,
        remarks=list(plan.remarks) if plan else [],
        facts=_fact_names(plan, rows) if plan else {},
        command=_command(environments[-1].get("command", []) if environments else []),
        environments=environments,
        config=found.text,
    )


def _fact_names(plan: KeptPlan, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The facts that rows of their own tell about, in the order of editing."""
    count = rows["name"].str.extract(r"/fact-(\d+)$", expand=False).astype(float).max()
    if pd.isna(count):
        return {}
    return {which: list(texts[: int(count) + 1]) for which, texts in plan.named.items()}


def _command(words: list[str]) -> str:
    """The command of the run as one would type it, wherever the program lies."""
    if not words:
        return ""
    program = "sweeps" if PurePath(words[0]).name in ("sweeps", "__main__.py") else words[0]
    return shlex.join([program, *words[1:]])


def _missing(plan: KeptPlan, store: Store, failures: dict[str, str]) -> list[tuple[str, str]]:
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
        terminal.show(material.tradeoff, console)
        for headline in headlines(material.tradeoff, material.kept):
            console.print(f"[bold]{escape(headline['title'])}[/bold]: {escape(headline['finding'])}", highlight=False)
            console.print(escape(headline["scores"]), highlight=False)
        for reason, count in webpage.reasons(material.tradeoff):
            console.print(f"[dim]{escape(reason)} ({count} {'cell' if count == 1 else 'cells'})[/dim]", highlight=False)
    for line in collateral.found(material.rows):
        console.print(escape(line), style="yellow", highlight=False)
    for one in material.search:
        console.print(f"[bold]search, {escape(one.title)}[/bold]: {escape(one.finding)}", highlight=False)
    for section in answers.beside(material.rows, material.table):
        console.print(f"[bold]{escape(section['title'])}[/bold]: {escape(section['sentence'])}", highlight=False)
    if material.left_out:
        console.print(asked.told(material.left_out), style="yellow", highlight=False)
    for title, style, lines in (("failed", "red", material.failed), ("not finished", "yellow", material.missing)):
        for cell, reason in lines:
            first = reason.strip().splitlines()[0] if reason.strip() else "no reason was recorded"
            console.print(f"[{style}]{title}[/{style}] {escape(cell)}: {escape(first)}", highlight=False)
