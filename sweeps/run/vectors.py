"""Vectors of the unedited model, found by the cell that asks first and read from the store by all others."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from rect.editors.value_search.vectors import Vectors
from rect.facts import Fact, digest
from sweeps.plan.chain import identify
from sweeps.store.journal import Journal
from sweeps.store.store import Store


@dataclass
class Once:
    """A `Keeper`: facts that are edited together have one file, the same for all methods that search alike.

    Attributes:
        base: id of the unedited model's state.
        store, journal, alone: as a `Workplace` has them.
        waited: seconds in which another worker was at it.
    """

    base: str
    store: Store
    journal: Journal
    alone: Callable[[str, str], AbstractContextManager[None]]
    waited: float = 0.0

    def __call__(self, about: Mapping[str, Any], facts: Sequence[Fact], find: Callable[[], Vectors]) -> Vectors:
        sought = {"base": self.base, "search": dict(about), "facts": digest(facts)}
        name = identify("vectors", self.base, about, sought["facts"])
        kept = self.store.vectors(name)
        if kept is not None:
            return kept
        began = time.perf_counter()
        with self.alone(name, uuid.uuid4().hex):
            self.waited += time.perf_counter() - began
            kept = self.store.vectors(name)  # another worker may have been at it
            if kept is None:
                began = time.perf_counter()
                kept = self.store.put_vectors(name, find(), sought)
                seconds = round(time.perf_counter() - began, 3)
                self.journal.write("vectors-found", vectors=name, facts=len(facts), seconds=seconds)
        return kept
