"""Where examples come from: bundled with the package, a directory of files, or the Hugging Face hub."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelfolder.errors import InputError
from tasks import readers
from tasks.readers import Located
from tasks.records import Example, Examples

if TYPE_CHECKING:
    from tasks.base import Task

logger = logging.getLogger(__name__)

BUNDLED = Path(__file__).parent / "data"
SHOWN = 3  # skipped records that are named
ROOTS = (".", "task-data", "data/task-data")  # in a directory: itself, or the authors' folders in it


def examples(task: Task, source: str | Path, limit: int | None, seed: int) -> Examples:
    """The drawn examples of a task, in the order of the source; see `Task.examples`."""
    task = task.on(source)
    if source == "hub":
        from tasks import hub

        records, provenance = hub.records(task)
        bad: list[str] = []
        groups = parsed(task, records, bad)
        _tell(task.name, groups, bad)
        provenance = provenance | ({"skipped": str(len(bad))} if bad else {})
    else:
        paths = files(task, source)
        records = read_all(paths, task.data.text)
        kind = "bundled" if source == "bundled" else "directory"
        provenance = {"source": kind, "file": str(paths[0]), "files": str(len(paths)), "sha256": digest(paths)}
        groups = parsed(task, records)
    return Examples(drawn(groups, task.name, limit, seed), provenance)


Groups = dict[int, list[Example]]
"""{index of a record in its source: its examples}"""


def parsed(task: Task, records: Iterable[Located], bad: list[str] | None = None) -> Groups:
    """The examples of every record.

    bad: takes the malformed records ("row 3 (why)") of a public data set, which nobody can mend where they lie. Without
        it one raises InputError with its place.
    """
    groups = {}
    for index, (where, record) in enumerate(records):
        try:
            groups[index] = task.parse(record, str(index))
        except InputError as error:
            if bad is None:
                raise InputError(f"{where}: {error}") from None
            bad.append(f"{where} ({error})")
    return groups


def _tell(name: str, groups: Groups, bad: list[str]) -> None:
    """Say which records are skipped. Raises InputError where no other is left."""
    if bad and not groups:
        raise InputError(f"{name}: no record that can be used; first {bad[0]}")
    if bad:
        named = "; ".join(bad[:SHOWN]) + ("; ..." if len(bad) > SHOWN else "")
        logger.warning("%s: %d of %d records skipped: %s", name, len(bad), len(groups) + len(bad), named)


def drawn(groups: Groups, name: str, limit: int | None, seed: int) -> list[Example]:
    """The examples of at most `limit` records: those whose hash of (seed, task, index) is smallest.

    So it depends neither on the order of tasks nor on the number of records, and a larger limit only adds to it.
    """
    if limit is not None and limit < 1:
        raise InputError(f"examples must be at least 1 (or none given, for all), not {limit}")
    if limit is None or limit >= len(groups):
        if limit is not None and limit > len(groups):
            logger.warning("%s: %d examples asked for, the source has %d", name, limit, len(groups))
        return [example for group in groups.values() for example in group]
    base = name.split(":")[0]  # the modes of a task share their examples

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{base}:{index}".encode()).digest()

    kept = sorted(sorted(groups, key=rank)[:limit])
    return [example for index in kept for example in groups[index]]


def first_record(task: Task, source: str | Path) -> Located:
    """The first record of a bundled or directory source."""
    return next(read_all(files(task, source), task.data.text))


def files(task: Task, source: str | Path) -> list[Path]:
    """The file (MuTual: files) of a task in a source. InputError that says what was looked for."""
    name = task.name.split(":")[0]
    folder = BUNDLED / f"{name}.jsonl" if source == "bundled" else Path(source)
    if os.path.isfile(folder):  # also of a name that can be none
        return [folder]
    if source == "bundled":
        raise InputError(f"no bundled data for task {name!r} ({folder} is missing)")
    if not os.path.isdir(folder):
        raise InputError(
            f"{folder}: no such directory or file; a source is bundled, hub, or a directory with the data sets"
        )
    patterns = (*task.data.files[:1], f"{name}.jsonl", *task.data.files[1:])
    for pattern in patterns:
        for root in ROOTS:
            found = sorted((path for path in (folder / root).glob(pattern) if path.is_file()), key=_by_number)
            if found:
                logger.info("%s: reads %s", name, found[0] if len(found) == 1 else f"{len(found)} files {pattern}")
                return found
    raise InputError(f"{folder}: no data for task {name!r}; looked for {', '.join(patterns)}")


def read_all(paths: Iterable[Path], text: str) -> Iterator[Located]:
    """The records of several files, one after the other."""
    for path in paths:
        yield from readers.read(path, text)


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of the files, in order."""
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _by_number(path: Path) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"[0-9]{1,18}", path.name)], str(path)
