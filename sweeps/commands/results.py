"""Commands that look at what sweeps left: figure, compare, export, judge. Registered by `sweeps.commands.app`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from modelfolder.errors import InputError
from sweeps.commands import shared
from sweeps.commands.shared import Everything, Folder
from sweeps.figures.specs import FIGURES

Score = Literal["score_release", "score"]
Format = Literal["csv", "parquet", "latex", "markdown"]
Table = Literal[
    "tradeoff", "seeds", "curves", "ranking", "paired", "smallest-k", "answers", "agreement", "rows", "outputs"
]


def figure(
    name: Annotated[
        str,
        typer.Argument(
            help="figure-03 or 3, table-1, ...; all; or list.",
            show_default=False,
            autocompletion=lambda: [*FIGURES, "all", "list"],
        ),
    ],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of a sweep.")] = "",
    score: Annotated[Score, typer.Option(help="score_release: as published.")] = "score_release",
    everything: Everything = False,
) -> None:
    """Draw a figure or a table of the paper from a sweep: PNG, SVG and CSV in DIR/figures."""
    if name == "list":
        for one in FIGURES.values():
            typer.echo(f"{one.name:<24}{one.title}: {one.statement}")
        return
    if not folder:
        raise InputError(
            f"sweeps figure {name}: the folder of a sweep is missing, as in sweeps figure {name} results/demo"
        )

    from sweeps.figures import draw

    for line in draw.listed(draw.draw(name, folder, score, everything)):
        typer.echo(line)


def compare(
    first: Folder,
    second: Folder,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write all differences as CSV.")] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Mark differences with an adjusted p below this.")] = 0.05,
    everything: Everything = False,
) -> None:
    """Compare two sweeps cell by cell: differences, their intervals, and whether they are more than chance."""
    from sweeps.report import between as work

    work.run(first, second, out, alpha, shared.console(), everything)


def export(
    folder: Folder,
    format: Annotated[Format, typer.Option("--format", help="How.")] = "csv",
    what: Annotated[Table, typer.Option(help="Which table.")] = "tradeoff",
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Default <what>.<ending> in DIR.")] = None,
    everything: Everything = False,
) -> None:
    """Write a table of a sweep as CSV, parquet, LaTeX or Markdown."""
    from sweeps.report import export as work

    typer.echo(work.export(folder, what, format, out, everything))


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
