"""Whether the methods of a sweep have what they need, found out before anything is loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from modelfolder.errors import InputError
from rect.editors.easyeditor import environment
from sweeps.plan.grid import Cell

log = logging.getLogger(__name__)


def lacking(cells: Iterable[Cell]) -> list[str]:
    """What the methods of some cells lack on their models, one line each."""
    return [reason for _, reason in _lacks(cells)]


def check(cells: Iterable[Cell]) -> None:
    """Raise InputError for the first thing that a method lacks.

    Methods of another environment do not stop the others: their cells fail, each with the reason, and the rest goes on.
    """
    cells = list(cells)
    reasons = _lacks(cells)
    others = {cell.method.name for cell in cells if cell.method} - {name for name, _ in reasons}
    for name, reason in reasons:
        if not (others and name.startswith(environment.PREFIX)):
            raise InputError(reason)
        log.warning("%s; its cells will fail", reason)


def _lacks(cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """(method, what it lacks)"""
    from rect import editors

    reasons = []
    for model, method in dict.fromkeys((cell.model, cell.method) for cell in cells if cell.method):
        try:
            editors.check(method.name, model.name, method.hparams)
        except InputError as error:
            reasons.append((method.name, str(error)))
    return reasons
