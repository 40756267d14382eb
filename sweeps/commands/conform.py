"""The work of `sweeps methods conform`: a method's updates beside its formula, and beside EasyEdit's.

Two operations, the second on what the first left: a method that remembers has something to remember. Both sides start
from the same weights, prefixes, covariance and history. The covariance is made up, so that no text has to be read: what
is computed from it is what is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from rect.editors.base import Editor
    from rect.facts import Fact
    from rect.model import EditableModel
    from rect.update import Update

WITHIN = 0.9999
"""Cosine that updates of one formula have at least."""

EASYEDITOR = {
    **{"alphaedit": "AlphaEdit", "emmet": "EMMET", "kn": "KN", "memit": "MEMIT", "r-rome": "R-ROME", "rome": "ROME"},
    "ultraedit": "ULTRAEDIT",
}
"""Where EasyEdit has the method too."""

DEPARTS = {
    "alphaedit": "EasyEdit solves in float32, P too",
    "kn": "EasyEdit looks at the projection before the nonlinearity",
    "r-rome": "EasyEdit adds what was found to the output at the bare prompt (r_rome: released), not to the mean one",
    "ultraedit": (
        "EasyEdit begins its statistics anew in every operation, shares them between matrices of one shape and divides "
        "by deviations that are too large"
    ),
}
"""What is known to be other in EasyEdit's source (docs/methods.md)."""


@dataclass(frozen=True)
class Beside:
    """One operation of ours beside another's.

    Attributes:
        what: "formula", or the name of EasyEdit's method.
        operation: from 1.
        ours, theirs: seconds that each took.
        cosine: of the two updates, the least over the matrices.
        apart: norm of the difference over that of theirs, the largest over the matrices.
        matrix: where that is.
    """

    what: str
    operation: int
    ours: float
    theirs: float
    cosine: float
    apart: float
    matrix: str


def conform(
    name: str,
    model_name: str,
    facts: Sequence[Fact],
    hparams: Any = None,
    device: str = "auto",
    console: Console | None = None,
) -> bool:
    """Print a table; says whether ours is its formula.

    Raises:
        InputError: no such method, or one that cannot be compared.
    """
    from rich.console import Console
    from rich.table import Table

    check(name)
    from rect import editors
    from rect.editors import formulas, hyperparameters
    from rect.model import EditableModel

    console = console or Console()
    editors.check(name, model_name, hparams)
    model = EditableModel.load(model_name, device=device)
    record = hyperparameters.resolve(editors.get(name).hparams_class, hparams, model)
    covariance = formulas.made_up(model, getattr(record, "layers", ()))
    editor = editors.create(name, model, hparams, covariance=covariance)
    other, why = beside(editor, model)
    table = Table(box=None, pad_edge=False)
    for title in ("beside", "operation", "ours (s)", "theirs (s)", "cosine", "apart", "most in"):
        table.add_column(title, justify="left" if title in ("beside", "most in") else "right")
    found = list(compare(editor, model, operations(editor, facts), other))
    for one in found:
        numbers = (str(one.operation), f"{one.ours:.1f}", f"{one.theirs:.1f}", f"{one.cosine:.7f}", f"{one.apart:.1e}")
        table.add_row(one.what, *numbers, one.matrix)
    console.print(table)
    bare = "" if formulas.known(editor) else f"no formula is written out for {name}"
    for line in [bare, why, *([DEPARTS[name]] if other is not None and name in DEPARTS else [])]:
        if line:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    return all(one.cosine >= WITHIN for one in found if one.what == "formula")


def check(name: str) -> None:
    """Raise InputError for what is no method that can be compared."""
    from rect import editors
    from rect.editors.easyeditor import environment

    editors.get(name)
    if name.startswith(environment.PREFIX):
        raise InputError(f"{name} is EasyEdit's own: name the method of ours, one of {', '.join(sorted(EASYEDITOR))}")
    if name == "mend":
        raise InputError("mend: what it computes is in a trained hypernetwork: there is no formula to hold it against")


def operations(editor: Editor, facts: Sequence[Fact]) -> list[list[Fact]]:
    """The facts as two operations, or as one where there is one alone; one each for methods that take no more."""
    if not editor.batch:
        return [[fact] for fact in facts]
    half = (len(facts) + 1) // 2
    return [list(some) for some in (facts[:half], facts[half:]) if some]


def beside(editor: Editor, model: EditableModel) -> tuple[Editor | None, str]:
    """EasyEdit's editor with the same values, prefixes and covariance; or None, and why."""
    from rect import editors
    from rect.editors.easyeditor import environment

    if editor.name not in EASYEDITOR:
        return None, f"EasyEdit has no {editor.name}"
    name = environment.PREFIX + EASYEDITOR[editor.name]
    try:
        editors.check(name, model.name)
        made = editors.create(name, model, _values(editor, model, name), editor.prefixes, editor.covariance)
    except InputError as error:
        return None, f"not beside EasyEdit's: {error}"
    return made, ""


def _values(editor: Any, model: EditableModel, name: str) -> dict[str, Any]:
    """Our hyperparameters in EasyEdit's keys."""
    from rect import editors

    given = editor.hparams.model_dump(mode="json")
    if editor.name == "ultraedit":
        return {"lr": given["lr"], "inner_params": editor.names(model)}
    known = editors.get(name).hparams_class.model_fields
    return {key: value for key, value in given.items() if key in known and value is not None}


def compare(
    editor: Editor, model: EditableModel, edits: Sequence[list[Fact]], other: Editor | None
) -> Iterator[Beside]:
    """Each operation beside the formula, where there is one, and the other editor; the model is left as it was."""
    from rect.editors import formulas
    from rect.history import History

    history = History()
    try:
        for number, facts in enumerate(edits, 1):
            began = time.perf_counter()
            update = editor.compute(model, facts, history)
            ours, mine = time.perf_counter() - began, _dense(update, model)
            if formulas.known(editor):
                began = time.perf_counter()
                theirs = formulas.update(editor, model, facts, history)
                yield _beside("formula", number, ours, time.perf_counter() - began, mine, theirs)
            if other is not None:
                made = other.compute(model, facts, history)
                took = made.provenance["took"]["seconds"]
                yield _beside(other.name, number, ours, took, mine, _dense(made, model))
            model.add(update)
            history = history.after(update)
    finally:
        model.restore()


def _dense(update: Update, model: EditableModel) -> dict[str, Any]:
    """dW of each matrix, (out, in), float64."""
    found = {name: update.dense(name).double().cpu().numpy() for name in update}
    turned = model.architecture.transposed
    return {name: dense.T if turned and dense.ndim == 2 else dense for name, dense in found.items()}


def _beside(
    what: str, number: int, ours: float, theirs: float, mine: Mapping[str, Any], their: Mapping[str, Any]
) -> Beside:
    from numpy.linalg import norm

    cosines, apart = {}, {}
    for name in sorted({*mine, *their}):
        a, b = mine.get(name), their.get(name)
        if a is None or b is None:  # one side changes it, the other does not
            cosines[name], apart[name] = 0.0, float("inf")
            continue
        cosines[name] = float((a * b).sum() / max(float(norm(a) * norm(b)), 1e-300))
        apart[name] = float(norm(a - b) / max(float(norm(b)), 1e-300))
    matrix = max(apart, key=lambda name: apart[name], default="")
    return Beside(what, number, ours, theirs, min(cosines.values(), default=1.0), apart.get(matrix, 0.0), matrix)
