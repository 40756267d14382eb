"""Whether the methods of a sweep have what they need, found out before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable

from rect.errors import InputError
from sweeps.grid import Cell


def lacking(cells: Iterable[Cell]) -> list[str]:
    """What the methods of some cells lack on their models, one line each."""
    from rect import editors

    reasons = []
    for model, method in dict.fromkeys((cell.model, cell.method) for cell in cells if cell.method):
        try:
            editors.check(method.name, model.name, method.hparams)
        except InputError as error:
            reasons.append(str(error))
    return reasons


def check(cells: Iterable[Cell]) -> None:
    """Raise InputError for the first thing that a method lacks."""
    for reason in lacking(cells):
        raise InputError(reason)
