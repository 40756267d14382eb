"""What is known of the facts of a sweep by themselves: whose they are, that they repeat, or contradict others."""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rect.facts import Fact, units
from sweeps.config.config import EditsSpec, ModelSpec
from sweeps.plan.grid import Cell

SHOWN = 3
SKIPPING = "1"  # goes up when a public data set's facts are skipped for other reasons (`rect.lengths.trouble`)
ROOM = 32  # tokens that are kept for a context prefix, where the facts must not depend on which methods there are
PER_TOKEN = 3  # a sampled token may be a part of a character, which is read again as U+FFFD, of so many bytes
STOP = 2  # a full stop and a space behind the prefix


def is_own(edits: EditsSpec) -> bool:
    """Whether a fact that cannot be edited is an error, as a bad record is: in a file of one's own, or with `strict`.

    In a public data set, and in the facts that come with this package, it is skipped.
    """
    return edits.strict or (edits.format == "facts" and edits.source != "bundled")


def room(edits: EditsSpec, editors: Iterable[Mapping[str, Any]]) -> int:
    """Tokens that an edit prompt must leave for context prefixes, which are known only once a model has sampled them.

    Args:
        edits: where the facts come from.
        editors: declared things of the methods.
    """
    recipes = [one["prefixes"] for one in editors if one.get("prefixes") is not None]
    longest = max((tokens for recipe in recipes for tokens, n in recipe["lengths"] if n), default=0)
    most = PER_TOKEN * longest + STOP if longest else 0
    return most if is_own(edits) else max(most, ROOM)


def notes(
    facts: Sequence[Fact], cells: Iterable[Cell], skipped: Mapping[ModelSpec, Collection[int]] | None = None
) -> list[str]:
    """One line for each thing that is to be known.

    Args:
        facts: the edit set.
        cells: that draw from it.
        skipped: per model the facts that are not drawn for it.
    """
    lines = [*_repeated(units(facts), cells, skipped or {}), *_twice(facts), *_contradictory(facts)]
    return [f"facts: {line}" for line in lines]


def _repeated(
    found: Sequence[tuple[int, ...]], cells: Iterable[Cell], skipped: Mapping[ModelSpec, Collection[int]]
) -> Iterable[str]:
    """Cells that edit more facts than there are; where they edit instances, more of these."""
    wanted: dict[tuple[int, int, str], int] = {}  # {(how many there are, left out, what): how many are drawn}
    for cell in cells:
        if cell.method is None:
            continue
        out = skipped.get(cell.model, ())
        left = [unit for unit in found if not any(index in out for index in unit)]
        whole = any(len(unit) > 1 for unit in found) and not cell.edits_one
        n, there = (len(found), len(left)) if whole else (sum(map(len, found)), sum(map(len, left)))
        key = n, n - there, "instances" if whole else "facts"
        wanted[key] = max(wanted.get(key, 0), cell.checkpoints[-1] * cell.batch_size)
    for (n, gone, what), drawn in sorted(wanted.items(), key=lambda one: one[0][1]):
        if 0 < n - gone < drawn:
            left_out = f" ({gone} of them are skipped)" if gone else ""
            yield (
                f"the edit set has {n} {what}{left_out}, up to {drawn} are edited in a cell: they repeat, each up to "
                f"{-(-drawn // (n - gone))} times; edit metrics count each fact once"
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
