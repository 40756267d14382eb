"""What a sweep's folder holds besides results: look at it, check it, clear out what its configuration does not use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from sweeps.plan.kept import KeptPlan, kept_plan
from sweeps.store.folder import StoreError
from sweeps.store.store import Store

KINDS = {
    "updates": (".safetensors", "raw updates of edit operations"),
    "vectors": (".safetensors", "vectors of facts on the unedited model"),
    "states": (".json", "digests of the weights after an operation"),
    "prefixes": (".json", "context prefixes"),
    "unedited": (".json", "what unedited models answer"),
    "rows": (".parquet", "measurements"),
    "outputs": (".parquet", "generations"),
}


@dataclass(frozen=True)
class Entry:
    """One kind of file: how many there are, their bytes, and how many and how much the configuration does not use."""

    kind: str
    what: str
    files: int
    bytes: int
    unused: int
    unused_bytes: int


def used(plan: KeptPlan) -> dict[str, set[str]]:
    """Ids of the updates and of the states that the cells of a plan go through: {"updates": ..., "states": ...}."""
    found: dict[str, set[str]] = {"updates": set(), "states": set()}
    for cell in plan.cells:
        for operation in plan.operations(cell, cell.checkpoints[-1]):
            found["updates"].add(operation.id)
            found["states"].add(operation.state)
    return found


def unused(store: Store, plan: KeptPlan) -> dict[str, int]:
    """Updates, states and vectors that no cell of the plan uses: {name: bytes}."""
    wanted = used(plan)
    idle = {
        name: size
        for kind, ids in wanted.items()
        for name, size in store.folder.sizes(kind, KINDS[kind][0]).items()
        if PurePath(name).stem not in ids
    }
    vectors = store.folder.sizes("vectors", KINDS["vectors"][0])
    return idle | {name: size for name, size in vectors.items() if not _sought(store, plan, name)}


def _sought(store: Store, plan: KeptPlan, name: str) -> bool:
    """Whether a cell asks for these vectors; of a file that does not say what it is of, yes."""
    from rect.editors.value_search.vectors import Vectors

    sought = Vectors.sought(store.folder.read(name))
    return sought is None or plan.seeks(sought)


def inventory(store: Store) -> list[Entry]:
    """All kinds of files, in the order of `KINDS`."""
    idle = unused(store, kept_plan(store))
    found = []
    for kind, (suffix, what) in KINDS.items():
        sizes = store.folder.sizes(kind, suffix)
        mine = [size for name, size in idle.items() if name.startswith(f"{kind}/")]
        found.append(Entry(kind, what, len(sizes), sum(sizes.values()), len(mine), sum(mine)))
    return found


def verify(store: Store) -> list[str]:
    """Open everything. Returns what is wrong, one line per file; nothing is changed."""
    kept_plan(store)
    opened: dict[str, Callable[[str], object]] = {
        "updates": lambda name: _open_update(store, PurePath(name).stem),
        "vectors": lambda name: store.vectors(PurePath(name).stem),
        **dict.fromkeys(("rows", "outputs"), store.check_part),
    }
    wrong = []
    for kind in (*KINDS, "failures", "skipped"):
        look = opened.get(kind, lambda name: json.loads(store.folder.read(name)))
        for name in store.folder.names(kind, KINDS[kind][0] if kind in KINDS else ".json"):
            try:
                look(name)
            except json.JSONDecodeError:
                wrong.append(f"{name}: not valid JSON")
            except StoreError as error:
                wrong.append(f"{name}: {str(error).rpartition(': ')[2]}")
            except ValueError as error:
                wrong.append(f"{name}: {str(error).removeprefix(name + ': ')}")
    left = [os.path.relpath(path, store.folder.root) for path in store.folder.orphans()]
    return [*wrong, *(f"{path}: left behind by a process that was killed (prune removes it)" for path in left)]


def _open_update(store: Store, operation: str) -> None:
    update = store.update(operation)
    if update is not None:
        update.check_finite()


def prune(store: Store, really: bool) -> dict[str, int]:
    """Remove what the configuration does not use, and temporary files of killed processes. Rows and outputs stay.

    Args:
        really: False only looks.

    Returns:
        {name: bytes} of what was, or would be, removed.
    """
    if really:
        store.folder.check_writable(store.url)
    gone = unused(store, kept_plan(store))
    gone |= {os.path.relpath(path, store.folder.root): os.path.getsize(path) for path in store.folder.orphans()}
    for name in gone if really else ():
        store.folder.remove(name)
    return gone
