"""`sweeps facts check FILE`: what a file of facts holds. Registered by `sweeps.commands.app`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import shared

if TYPE_CHECKING:
    from rect.fact_files import Looked
    from rect.facts import Fact

app = shared.group("Look at files of facts.")

HELD = {
    "original answer": "original",
    "aliases of the target": "aliases",
    "rephrasings": "rephrasings",
    "locality prompts": "locality",
    "portability prompts": "portability",
    "tests of RippleEdits": "tests",
}
KINDS = ("locality", "portability", "tests")
NAMED = 20  # records that are named one by one


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Of facts, in any of the known formats.", show_default=False)],
    format: Annotated[str, typer.Option(help="How it is read; auto: as it looks.")] = "auto",
    everything: Annotated[bool, typer.Option("--all", help="Name every record that would be skipped.")] = False,
) -> None:
    """What is in a file, which format it was taken for, and which records would be skipped, and why.

    Exit code 1 where a sweep would refuse the file: no fact is left, or a record of the format `facts` is bad.
    """
    from rich.table import Column, Table

    from rect import fact_files

    looked = fact_files.look(file, format)
    console = shared.console()
    for line in said(file, looked):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for bad in looked.bad if everything else looked.bad[:NAMED]:
        console.print(f"  {bad.where}: {bad.why}{bad.hint}", highlight=False, markup=False, soft_wrap=True)
    if not everything and len(looked.bad) > NAMED:
        console.print(f"  and {len(looked.bad) - NAMED} more (--all names them)")
    numbers = (Column(title, justify="right") for title in ("facts with", "in all"))
    table = Table("", *numbers, box=None, pad_edge=False)
    for what, counts in held(looked.facts):
        table.add_row(what, str(sum(map(bool, counts))), str(sum(counts)))
    if looked.facts:
        console.print(table)
    if refused(looked):
        raise typer.Exit(1)


def refused(looked: Looked) -> bool:
    """Whether a sweep would refuse the file."""
    return not looked.facts or (looked.format == "facts" and bool(looked.bad))


def said(file: Path, looked: Looked) -> Iterator[str]:
    """What is to be known of a file, in lines."""
    from rect.fact_files import FORMATS
    from sweeps.plan import edit_set

    records, facts, bad = looked.records, len(looked.facts), len(looked.bad)
    instances = len({one.id for fact in looked.facts for one in fact.instances})
    of = f" of {instances} instances" if instances else ""
    yield f"{file}: {FORMATS[looked.format].name}, format {looked.format}"
    fate = "an error in this format" if looked.format == "facts" else "would be skipped"
    yield f"{records + bad} records: {facts} facts{of}" + (f"; {bad} {fate}:" if bad else "")
    yield from edit_set.notes(looked.facts, ())


def held(facts: tuple[Fact, ...]) -> Iterator[tuple[str, list[int]]]:
    """(what facts may hold, how many of it each holds), what none holds left out."""
    for what, key in HELD.items():
        found = [getattr(fact, key) for fact in facts]
        if any(found):
            yield what, [1 if isinstance(one, str) else len(one or ()) for one in found]
        kinds = {one.kind for some in found for one in some if one.kind} if key in KINDS else ()
        for kind in sorted(kinds):
            yield f"{what}: {kind}", [sum(one.kind == kind for one in some) for some in found]
