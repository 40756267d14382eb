"""Commands about what a sweep keeps: `sweeps cache list|verify|prune DIR`. Registered by `sweeps.commands.app`."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.commands import shared
from sweeps.commands.shared import Folder

app = shared.group("Look at what a sweep's folder keeps, check it, clear out what is not used.")


@app.command("list")
def list_files(folder: Folder) -> None:
    """What is kept, how large it is, and how much of it the folder's configuration does not use."""
    from rich.filesize import decimal
    from rich.table import Column, Table

    from sweeps.commands import upkeep
    from sweeps.store.store import Store

    numbers = (Column(title, justify="right") for title in ("files", "size", "unused", "size"))
    table = Table("", *numbers, "what", box=None, pad_edge=False)
    for one in upkeep.inventory(Store(folder)):
        table.add_row(
            one.kind, str(one.files), decimal(one.bytes), str(one.unused), decimal(one.unused_bytes), one.what
        )
    shared.console().print(table)


@app.command()
def verify(folder: Folder) -> None:
    """Open every file; exit code 1 where one is broken."""
    from sweeps.commands import upkeep
    from sweeps.store.store import Store

    wrong = upkeep.verify(Store(folder))
    for line in wrong:
        typer.echo(line)
    typer.echo(f"{len(wrong)} {'file is' if len(wrong) == 1 else 'files are'} not as they should be")
    if wrong:
        raise typer.Exit(1)


@app.command()
def prune(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it nothing is removed.")] = False,
) -> None:
    """Remove updates, vectors and states that the folder's configuration does not use. Results are never removed."""
    from rich.filesize import decimal

    from sweeps.commands import upkeep
    from sweeps.store.store import Store

    gone = upkeep.prune(Store(folder), really=yes)
    for name in sorted(gone):
        typer.echo(name)
    total = f"{len(gone)} {'file' if len(gone) == 1 else 'files'}, {decimal(sum(gone.values()))}"
    typer.echo(f"{total} removed" if yes else f"{total} would be removed; --yes removes them")
