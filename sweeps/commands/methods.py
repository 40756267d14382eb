"""`sweeps methods list`: the editing methods, and what each needs. Registered by `sweeps.commands.app`."""

from __future__ import annotations

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
    "easyeditor:MEMIT": "the covariance of keys (sweeps covariance)",
    "easyeditor:MEND": "a hypernetwork that EasyEdit trained",
}
CHECKED = {  # docs/methods.md
    **dict.fromkeys(
        ("alphaedit", "emmet", "memit", "memit-history", "r-rome", "rome", "ultraedit"), "formula, property, release"
    ),
    **dict.fromkeys(("betaedit", "encore", "evoedit", "kn", "mend"), "formula, property"),
}


@app.command("list")
def list_methods() -> None:
    """All methods by name, with the facts of an operation, what must be there, and what ours was checked against."""
    from rich.table import Table

    from rect.editors import EDITORS
    from rect.editors.easyeditor import environment

    try:
        where = environment.find()
        there, state = set(where.methods()), f"EasyEdit {where.version} in {where.package}"
    except ValueError as error:
        there, state = set(), str(error)
    table = Table(box=None, pad_edge=False)
    for title in ("method", "facts", "needs", "checked against"):
        table.add_column(title, no_wrap=title == "method")
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
        reasons = "; ".join(f"{one}: {environment.WEIGHTLESS.get(one, 'not known here')}" for one in absent)
        console.print(f"not of use here: {reasons}", highlight=False, markup=False, soft_wrap=True)
