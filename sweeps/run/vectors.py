"""Vectors of the unedited model, found by the cell that asks first and read from the store by all others."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rect.editors.value_search.vectors import Vectors
from rect.facts import Fact, digest
from sweeps.plan.chain import identify
from sweeps.store.journal import Journal
from sweeps.store.store import Store


class Once:
    """A `Keeper`: facts that are edited together have one file, the same for all methods that search alike.

    Args:
        base: id of the unedited model's state.
        store, journal, alone: as a `Workplace` has them.

    Attributes:
        waited: seconds in which another worker was at it.
    """

    def __init__(
        self,
        base: str,
        store: Store,
        journal: Journal,
        alone: Callable[[str, str], AbstractContextManager[None]],
    ) -> None:
        self._base, self._store, self._journal, self._alone = base, store, journal, alone
        self._me = uuid.uuid4().hex
        self.waited = 0.0

    def __call__(self, about: Mapping[str, Any], facts: Sequence[Fact], find: Callable[[], Vectors]) -> Vectors:
        sought = {"base": self._base, "search": dict(about), "facts": digest(facts)}
        name = identify("vectors", self._base, about, sought["facts"])
        kept = self._store.vectors(name)
        if kept is not None:
            return kept
        began = time.perf_counter()
        with self._alone(name, self._me):
            self.waited += time.perf_counter() - began
            kept = self._store.vectors(name)  # another worker may have been at it
            return self._found(name, sought, len(facts), find) if kept is None else kept

    def _found(self, name: str, sought: Mapping[str, Any], facts: int, find: Callable[[], Vectors]) -> Vectors:
        began = time.perf_counter()
        kept = self._store.put_vectors(name, find(), sought)
        seconds = round(time.perf_counter() - began, 3)
        self._journal.write("vectors-found", vectors=name, facts=facts, seconds=seconds)
        return kept
