"""What commands share: arguments and options that mean the same everywhere, the console, a group that shows its help.

Whatever is read here is read for `--help` too: nothing heavy.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rect.regularizers import REGULARIZERS

if TYPE_CHECKING:
    from rich.console import Console

    RegularizerName = str
else:
    RegularizerName = Literal[tuple(REGULARIZERS)]  # as typer wants choices

Precision = Literal["float32", "bfloat16", "float16"]
AnyPrecision = Literal["auto", "float32", "bfloat16", "float16"]

ConfigPath = Annotated[Path, typer.Argument(help="YAML file, such as configs/demo.yaml.", show_default=False)]
Folder = Annotated[str, typer.Argument(help="Folder of a sweep: a path or any fsspec URL.", show_default=False)]
Folders = Annotated[
    list[str],
    typer.Argument(metavar="DIR...", help="Folder of a sweep; of several for one report.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the configuration, as tasks.examples=4; repeatable."
    ),
]
Scale = Annotated[str | None, typer.Option(help="One of the sizes under `scales` in the configuration, such as demo.")]
Everything = Annotated[
    bool, typer.Option("--all", help="All rows in the folder, not only those of its present configuration.")
]
MODEL = "A known name, a folder, a GGUF file, or a hub id."
Model = Annotated[str, typer.Option(help=MODEL)]
ModelArgument = Annotated[str, typer.Argument(help=MODEL, show_default=False)]
Regularizer = Annotated[RegularizerName, typer.Option(metavar="NAME", help=f"{', '.join(REGULARIZERS)}.")]
K = Annotated[float | None, typer.Option("--k", help="Percentage of the elements to keep, in (0, 100].")]
Seed = Annotated[int, typer.Option(help="Of the random regularizer's mask.")]
Dtype = Annotated[Precision, typer.Option(metavar="DTYPE", help="float32, bfloat16 or float16.")]
StoredDtype = Annotated[
    AnyPrecision, typer.Option(metavar="DTYPE", help="float32, bfloat16 or float16; auto: as the model is stored.")
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 ...", autocompletion=lambda: ["auto", "cpu", "cuda"])
]
Address = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="Of a Ray cluster; default one on this machine.")
]
Source = Annotated[str, typer.Option(help="bundled, hub, or a directory with the data sets' files.")]


def group(help: str) -> typer.Typer:
    """Commands under one name, which alone shows what there are."""
    return typer.Typer(help=help, invoke_without_command=True, callback=help_alone)


def help_alone(context: typer.Context) -> None:
    """Show the help where no command is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def console() -> Console:
    """Where tables and progress go."""
    from rich.console import Console

    return Console()


def error(text: str) -> None:
    """One line on stderr, whatever the text holds."""
    print("error: " + " ".join(text.split()), file=sys.stderr)
