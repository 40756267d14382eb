"""Read facts from files: the project's own, the user's, and those of the public data sets (`rect.fact_readers`).

The public data sets hold bad records (empty targets): these are skipped, counted and named in the log. In the user's
own file, or when asked to be strict, a bad record is an error that names file and line.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from modelfolder import json_files
from modelfolder.errors import InputError, reason
from modelfolder.values import shown
from rect import hub as hub_repositories
from rect import places
from rect.fact_kinds import AUTO, hint, told_by
from rect.fact_readers import FORMATS, reader
from rect.facts import Fact

__all__ = ["FORMATS", "Bad", "Looked", "bundled", "hub", "is_on_hub", "load", "look", "read"]

log = logging.getLogger(__name__)

DATA_FILES = ["README.md", "*.json", "*.jsonl", "*.json.gz", "*.jsonl.gz", "*.parquet", "*.csv"]
SHOWN = 10  # skipped records that are named one by one


class Bad(NamedTuple):
    """A record that is no fact: where it stands, why, and which other format it looks like, as a message's tail."""

    where: str
    why: str
    hint: str


class Looked(NamedTuple):
    """What was found in a file.

    Attributes:
        format: that it was read in.
        facts: of its good records.
        records: how many these are; one may hold several facts.
        bad: the others.
    """

    format: str
    facts: tuple[Fact, ...]
    records: int
    bad: tuple[Bad, ...]


def bundled() -> list[Fact]:
    """The facts that come with this package."""
    with resources.as_file(resources.files("rect") / "data" / "facts.jsonl") as path:
        return load(path)


def is_on_hub(source: str) -> bool:
    """Whether `read` would look for a source on the hub."""
    return source != "bundled" and not os.path.exists(source) and not source.endswith((".json", ".jsonl"))


def read(source: str, format: str = "facts", strict: bool = False) -> list[Fact]:
    """Facts from wherever they are: "bundled", a file, or a data set on the hub; see `load` and `hub`."""
    return list(found(source, format, strict).facts)


def found(
    source: str, format: str = "facts", strict: bool = False, told: Callable[[str], None] = log.warning
) -> Looked:
    """As `read`, with the format that was taken for "auto"."""
    if source == "bundled":
        known = tuple(bundled())
        return Looked("facts", known, len(known), ())
    return (
        _on_hub(source, format, strict=strict, told=told) if is_on_hub(source) else _file(source, format, strict, told)
    )


def load(
    path: str | os.PathLike[str],
    format: str = "facts",
    strict: bool = False,
    told: Callable[[str], None] = log.warning,
) -> list[Fact]:
    """Read a file of one JSON object a line, or of one JSON array.

    Args:
        path: the file, UTF-8.
        format: one of `FORMATS`, such as "facts" (keys as `Fact`; the prompt holds {} or the subject itself), or
            "auto": that of the first record that looks like one, which is told.
        strict: a bad record of the public formats is an error too.
        told: takes the line that counts and names records that are skipped, if any are, and the format of "auto".

    Raises:
        InputError: no such file, not JSON, a bad record (see above), or no record that can be used.
    """
    return list(_file(path, format, strict, told).facts)


def hub(
    name: str,
    format: str = "counterfact",
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    strict: bool = False,
    told: Callable[[str], None] = log.warning,
) -> list[Fact]:
    """Read facts from a data set on the Hugging Face hub, or from a folder that the package `datasets` understands.

    Args:
        name: hub id such as "azhx/counterfact", or a folder.
        format: what its records look like, as in `load`.
        split, config, revision: which part and version of it.
        strict: a bad record is an error.
        told: as in `load`.

    Raises:
        InputError: it cannot be had, or its records are not of this format.
    """
    return list(_on_hub(name, format, split, config, revision, strict, told).facts)


# Reading


def _file(path: str | os.PathLike[str], format: str, strict: bool, told: Callable[[str], None]) -> Looked:
    _check(format)  # a slip in it is told before the file is read
    return _usable(str(path), _look(str(path), _read(Path(path)), format), format, strict, told)


def _on_hub(
    name: str,
    format: str,
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    strict: bool = False,
    told: Callable[[str], None] = log.warning,
) -> Looked:
    _check(format)
    folder = places.expanded(name)
    if not os.path.isdir(folder):
        if not hub_repositories.is_id(name):
            raise InputError(f"data set {name!r}: no such folder, nor can it be the id of a data set on the hub")
        folder = hub_repositories.snapshot(name, "dataset", revision, DATA_FILES)
    import datasets

    try:
        rows = datasets.load_dataset(str(folder), config, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"data set {name!r}, split {split!r}: cannot be loaded ({reason(error)})") from None
    records = ((f"record {index}", row) for index, row in enumerate(rows))
    source = f"{name}, split {split}"
    return _usable(source, _look(source, records, format), format, strict, told)


def look(path: str | os.PathLike[str], format: str = AUTO) -> Looked:
    """What is in a file, without stopping at the first bad record.

    Raises:
        InputError: no such file, not JSON, or of no format that is known.
    """
    _check(format)
    return _look(str(path), _read(Path(path)), format)


def _check(format: str) -> None:
    if format != AUTO:
        reader(format)


def _look(source: str, records: Iterable[tuple[str, Any]], format: str) -> Looked:
    if format == AUTO:
        records = list(records)
        format = told_by((record for _, record in records), source).format
    read = reader(format)
    facts: list[Fact] = []
    bad: list[Bad] = []
    good = 0
    for where, record in records:
        try:
            if not isinstance(record, Mapping):
                raise InputError(f"not a JSON object but {shown(record)}")
            facts += [fact.read_from(f"{source}, {where}") for fact in read(record, where)]
            good += 1
        except InputError as error:
            bad.append(Bad(where, str(error), hint(record, format)))
    return Looked(format, tuple(facts), good, tuple(bad))


def _usable(source: str, looked: Looked, format: str, strict: bool, told: Callable[[str], None]) -> Looked:
    """What was found, unless a bad record is an error or nothing is left; the others are told."""
    bad = looked.bad
    if bad and (strict or looked.format == "facts"):
        raise InputError(f"{source}, {bad[0].where}: {bad[0].why}{bad[0].hint}")
    looks = next((one.hint for one in bad if one.hint), "")  # which other format the first bad record is of
    if not looked.facts:
        why = f"; first {bad[0].where} ({bad[0].why}){looks}" if bad else ""
        raise InputError(f"{source}: no record that can be used{why}")
    if format == AUTO:
        told(f"{source}: read as {FORMATS[looked.format].name}, format {looked.format}")
    if bad:
        named = "; ".join(f"{one.where} ({one.why})" for one in bad[:SHOWN])
        more = "; ..." if len(bad) > SHOWN else ""
        told(f"{source}: {len(bad)} of {looked.records + len(bad)} records skipped: {named}{more}{looks}")
    return looked


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    """("line 3", record) of a file with one JSON object a line, or one JSON array."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; one JSON object a line is wanted") from None
    return ((f"line {line}", record) for line, record in json_files.read(path, text))
