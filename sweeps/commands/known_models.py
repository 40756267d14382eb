"""`sweeps models list|show|get`: models that are known by name. Registered by `sweeps.commands.app`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from modelfolder.errors import InputError
from rect.known_models import Known, known, named
from sweeps.commands import shared

app = shared.group("Look at the models that are known by name, and fetch one.")


Name = Annotated[str, typer.Argument(help="See models list.", show_default=False, autocompletion=lambda: list(known()))]


@app.command("list")
def list_models() -> None:
    """Models that are known by name. Folders, GGUF files and hub ids are models too."""
    from rich.table import Column, Table

    from rect import models

    first = Column("model", no_wrap=True), Column("parameters", justify="right")
    table = Table(*first, "family", "licence", "here", "tuned for it", box=None, pad_edge=False)
    for model in known().values():
        here = "yes" if models.here(model.name) else "no"
        size = f"{model.parameters / 1e6:.0f}M"
        table.add_row(model.name, size, model.family, model.licence, here, ", ".join(tuned(model.name)) or "nothing")
    shared.console().print(table)


@app.command()
def show(name: Name) -> None:
    """What is known of a model: size, family, licence, where it comes from, what was tuned for it."""
    from rect import models

    model = named(name)
    rows = {
        "model": f"{name}: {model.about}",
        "parameters": f"{model.parameters:,}",
        "family": model.family,
        "licence": model.licence + (f", {model.terms.address}: to be agreed to before" if model.terms else ""),
        "comes in": " ".join(model.requirements),
        "SHA-256": model.sha256,
        "tuned": ", ".join(tuned(name)) or "nothing; methods take defaults by relative depth, untested",
        "state": models.state(name),
    }
    for title, text in rows.items():
        typer.echo(f"{title:<11} {text}")


@app.command()
def get(
    name: Name,
    agree: Annotated[bool, typer.Option("--agree", help="Agree to the model's terms, if it has some.")] = False,
) -> None:
    """Fetch a model, check it and convert it, once. Terms that it comes under are shown first."""
    from rect import models

    model = named(name)
    agreed = model.terms is None or models.here(name) is not None or _agreed(model, agree)
    typer.echo(f"{name} is in {models.get(name, agreed)}")


def _agreed(model: Known, agree: bool) -> bool:
    """Whether the user agrees to a model's terms: by the option, or asked with the terms before the eyes."""
    from rect import wheels

    assert model.terms is not None
    where = f"{model.terms.name}, {model.terms.address}"
    if agree:
        typer.echo(f"{model.name} comes under the {where}: agreed to by --agree")
        return True
    if not sys.stdin.isatty():
        raise InputError(
            f"{model.name} comes under the {where}: read them, then agree with --agree (there is no terminal to ask at)"
        )
    with tempfile.TemporaryDirectory() as scratch:
        typer.echo(wheels.terms_text(wheels.terms_file(model.name, model.terms, Path(scratch))))
    typer.echo()
    if not typer.confirm(f"{model.name} comes under these terms ({where}). Do you agree?"):
        raise InputError(f"{model.name} is not fetched: its terms were not agreed to")
    return True


def tuned(name: str) -> list[str]:
    """Methods whose hyperparameters were tried on a model."""
    from modelfolder import yaml_files
    from rect.editors import hyperparameters

    shelves = sorted(place.name for place in hyperparameters.FOLDER.iterdir() if place.is_dir())
    files = {shelf: hyperparameters.known(shelf, name) for shelf in shelves}
    return [shelf for shelf, file in files.items() if file is not None and yaml_files.mapping(file)["tested"]]
