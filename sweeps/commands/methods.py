"""`sweeps methods list|conform`: the editing methods, what each needs, and whether it computes what it should.
Registered by `sweeps.commands.app`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rect.known_models import DEFAULT
from sweeps.commands import shared

app = shared.group("Look at the editing methods.")

NEEDS = {
    "kn": "nothing else",
    "memit": "the covariance of keys (sweeps covariance)",
    "mend": "a hypernetwork (sweeps train-mend)",
    "rome": "nothing else",
    **dict.fromkeys(
        ("alphaedit", "betaedit", "emmet", "encore", "evoedit", "memit-history"),
        "the covariance of keys (sweeps covariance)",
    ),
    **dict.fromkeys(
        [
            f"easyeditor:{name}"
            for name in ("AlphaEdit", "CORE", "EAMET", "EMMET", "MEMIT", "MEMIT-FE", "PMET", "SPHERE")
        ],
        "the covariance of keys (sweeps covariance)",
    ),
    "easyeditor:MEND": "a hypernetwork that EasyEdit trained",
}
CHECKED = {  # docs/methods.md
    **dict.fromkeys(
        ("alphaedit", "emmet", "memit", "memit-history", "r-rome", "rome", "ultraedit"), "formula, property, release"
    ),
    **dict.fromkeys(("betaedit", "encore", "evoedit"), "formula, property, release (solve)"),
    **dict.fromkeys(("kn", "mend"), "formula, property"),
}


@app.command("list")
def list_methods() -> None:
    """All methods by name, with the facts of an operation, what must be there, and what ours was checked against."""
    from rich.table import Column, Table

    from rect.editors import EDITORS
    from rect.editors.easyeditor import environment

    try:
        where = environment.find()
        there, state = set(where.methods()), f"EasyEdit {where.version} in {where.package}"
    except ValueError as error:
        there, state = set(), str(error)
    table = Table(Column("method", no_wrap=True), "facts", "needs", "checked against", box=None, pad_edge=False)
    for name, method in EDITORS.items():
        needs = NEEDS.get(name, "nothing else")
        if name.startswith(environment.PREFIX) and name.removeprefix(environment.PREFIX) not in there:
            needs = "EasyEdit's environment (make easyeditor)" if not there else "another EasyEdit: this one lacks it"
        table.add_row(name, "many" if method.batch else "one", needs, CHECKED.get(name, "it is the release"))
    console = shared.console()
    console.print(table)
    console.print(state, highlight=False, markup=False, soft_wrap=True)
    absent = sorted(there - set(environment.METHODS))
    if absent:
        known = {**environment.WEIGHTLESS, **environment.UNFIT}
        reasons = "; ".join(f"{one}: {known.get(one, 'not known here')}" for one in absent)
        console.print(f"not of use here: {reasons}", highlight=False, markup=False, soft_wrap=True)


@app.command("conform")
def conform_method(
    name: Annotated[str, typer.Argument(help="A method, such as alphaedit.", show_default=False)],
    model: shared.Model = DEFAULT,
    facts: Annotated[
        str, typer.Option(help="bundled, or a file of facts in any format that a sweep reads.")
    ] = "bundled",
    count: Annotated[int, typer.Option(min=1, help="Facts, in two operations; one each for methods of one.")] = 2,
    hparams: Annotated[Path | None, typer.Option(help="YAML file of hyperparameters.")] = None,
    device: shared.Device = "auto",
) -> None:
    """Put a method's updates beside its formula and, where it is there, beside EasyEdit's; exit code 1 where they are
    not the formula's.
    """
    from modelfolder.errors import InputError
    from rect import fact_files
    from sweeps.commands import conform

    conform.check(name)
    known = fact_files.found(facts, "auto").facts
    if len(known) < count:
        raise InputError(f"--count {count}: {facts} has {len(known)} facts")
    if not conform.conform(name, model, known[:count], hparams, device, shared.console()):
        raise typer.Exit(1)
