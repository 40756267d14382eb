"""Ids of operations: each is made of the state before it, so that a cell's operations are a chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def identify(*parts: Any) -> str:
    """SHA-256 of canonical JSON, the first 32 hex digits.

    >>> identify({"b": 1, "a": 2.0}) == identify({"a": 2.0, "b": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Link:
    """The ids of one edit operation.

    Attributes:
        id: of the raw update; the same for all regularizers and k that share what came before.
        before: id of the state that it starts from.
        state: id of the state after the regularized update.
        seed: of the regularizer's mask in this operation; the same for all k, so that random masks are nested.
    """

    id: str
    before: str
    state: str
    seed: int


@dataclass(frozen=True)
class Chain:
    """What the ids of a cell's operations are made of, the facts aside.

    Attributes:
        base: id of the state before any operation.
        editor: declared things of the method.
        regularized: name, version and k of the regularizer.
        seed: the cell's.
    """

    base: str
    editor: Mapping[str, Any]
    regularized: Sequence[Any]
    seed: int

    def links(self, batches: Iterable[str]) -> Iterator[Link]:
        """The ids of the operations, from the digest of each one's facts."""
        state = self.base
        for index, batch in enumerate(batches):
            operation = identify("operation", state, self.editor, batch)
            mask = int(identify("mask", self.seed, index)[:15], 16)
            after = identify("state", operation, *self.regularized, mask)
            yield Link(operation, state, after, mask)
            state = after
