"""`sweeps judge DIR COMMAND...`. Registered by `sweeps.commands.app`."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.commands import shared
from sweeps.commands.shared import Folder


def judge(
    folder: Folder,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND...",
            help="A program of your own, its arguments behind it: reads answers as JSON lines, writes verdicts.",
            show_default=False,
        ),
    ],
) -> None:
    """Have a program of your own judge what the models of a sweep answered; the report shows it then."""
    from sweeps.run import judging as work

    answers, lines = work.judge(folder, command)
    told = f"{answers} answers judged, {lines} different ones" if answers else "nothing new to judge"
    shared.console().print(told, highlight=False)
