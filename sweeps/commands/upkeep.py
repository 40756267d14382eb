"""What a sweep's folder holds besides results: look at it, check it, clear out what its configuration does not use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

from modelfolder.errors import InputError
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
TABLES = ("rows", "outputs")


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
    """Updates and states that no cell of the plan uses: {name: bytes}."""
    wanted = used(plan)
    return {
        name: size
        for kind, ids in wanted.items()
        for name, size in store.folder.sizes(kind, KINDS[kind][0]).items()
        if _id(name) not in ids
    }


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
    return [*_bad_updates(store), *_bad_vectors(store), *_bad_records(store), *_bad_tables(store), *_left_behind(store)]


def _bad_updates(store: Store) -> Iterable[str]:
    from rect.update import UpdateError

    for name in store.folder.names("updates", ".safetensors"):
        try:
            update = store.update(_id(name))
            if update is not None:
                update.check_finite()
        except (InputError, UpdateError) as error:
            yield f"{name}: {str(error).removeprefix(name + ': ')}"


def _bad_vectors(store: Store) -> Iterable[str]:
    for name in store.folder.names("vectors", ".safetensors"):
        try:
            store.vectors(_id(name))
        except InputError as error:
            yield str(error)


def _bad_records(store: Store) -> Iterable[str]:
    for kind in ("states", "prefixes", "unedited", "failures", "skipped"):
        for name in store.folder.names(kind, ".json"):
            try:
                json.loads(store.folder.read(name))
            except ValueError:
                yield f"{name}: not valid JSON"


def _bad_tables(store: Store) -> Iterable[str]:
    for table in TABLES:
        for name in store.folder.names(table, ".parquet"):
            try:
                store.check_part(name)
            except StoreError as error:
                yield f"{name}: {str(error).rpartition(': ')[2]}"


def _left_behind(store: Store) -> Iterable[str]:
    for path in store.folder.orphans():
        yield f"{os.path.relpath(path, store.folder.root)}: left behind by a process that was killed (prune removes it)"


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


def _id(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
