"""What one should know of the facts of a sweep before its numbers are read: that they repeat, or contradict others."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sweeps.grid import Cell

if TYPE_CHECKING:
    from rect.facts import Fact

SHOWN = 3


def notes(facts: Sequence[Fact], cells: Iterable[Cell]) -> list[str]:
    """One line for each thing that is to be known.

    Args:
        facts: the edit set.
        cells: that draw from it.
    """
    lines = [*_repeated(facts, cells), *_twice(facts), *_contradictory(facts)]
    return [f"facts: {line}" for line in lines]


def _repeated(facts: Sequence[Fact], cells: Iterable[Cell]) -> Iterable[str]:
    """Cells that edit more facts than there are."""
    wanted = max((cell.checkpoints[-1] * cell.batch_size for cell in cells if cell.method is not None), default=0)
    if facts and wanted > len(facts):
        yield (
            f"the edit set has {len(facts)} facts, up to {wanted} are edited in a cell: they repeat, each up to "
            f"{-(-wanted // len(facts))} times; edit metrics count each fact once"
        )


def _twice(facts: Sequence[Fact]) -> Iterable[str]:
    counts = collections.Counter(fact.edit for fact in facts)
    again = {fact.edit: fact.filled for fact in facts if counts[fact.edit] > 1}
    if again:
        shown = _listed([*again.values()])
        yield f"{len(again)} edits stand in the edit set more than once, such as {shown}; edit metrics count each once"


def _contradictory(facts: Sequence[Fact]) -> Iterable[str]:
    targets: dict[str, set[str]] = collections.defaultdict(set)
    for fact in facts:
        targets[fact.filled].add(fact.target)
    torn = [filled for filled, wanted in targets.items() if len(wanted) > 1]
    if torn:
        yield (
            f"{len(torn)} prompts have several targets, such as {_listed(torn)}: where both are edited into one model "
            f"at most one can hold, which no method is to blame for"
        )


def _listed(prompts: Sequence[str]) -> str:
    return "; ".join(repr(prompt[:60]) for prompt in prompts[:SHOWN])
