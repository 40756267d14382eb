"""Read facts from files: the project's own, the user's, ZsRE's and CounterFact's.

The public data sets hold bad records (empty targets): these are skipped, counted and named in the log. In the user's
own file, or when asked to be strict, a bad record is an error that names file and line.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from modelfolder import json_files
from modelfolder.errors import InputError
from modelfolder.values import shown
from rect import hub as hub_repositories
from rect import places
from rect.fact_formats import FORMATS, converter
from rect.fact_kinds import hint
from rect.facts import Fact

__all__ = ["FORMATS", "bundled", "hub", "is_on_hub", "load", "read"]

log = logging.getLogger(__name__)

DATA_FILES = ["README.md", "*.json", "*.jsonl", "*.json.gz", "*.jsonl.gz", "*.parquet", "*.csv"]
SHOWN = 10  # skipped records that are named one by one


def bundled() -> list[Fact]:
    """The facts that come with this package."""
    with resources.as_file(resources.files("rect") / "data" / "facts.jsonl") as path:
        return load(path)


def is_on_hub(source: str) -> bool:
    """Whether `read` would look for a source on the hub."""
    return source != "bundled" and not os.path.exists(source) and not source.endswith((".json", ".jsonl"))


def read(source: str, format: str = "facts", strict: bool = False) -> list[Fact]:
    """Facts from wherever they are: "bundled", a file, or a data set on the hub; see `load` and `hub`."""
    if source == "bundled":
        return bundled()
    return (hub if is_on_hub(source) else load)(source, format=format, strict=strict)


def load(
    path: str | os.PathLike[str],
    format: str = "facts",
    strict: bool = False,
    told: Callable[[str], None] = log.warning,
) -> list[Fact]:
    """Read a file of one JSON object a line, or of one JSON array.

    Args:
        path: the file, UTF-8.
        format: "facts" (keys as `Fact`; the prompt holds {} or the subject itself), "zsre" or "counterfact".
        strict: a bad record of the public formats is an error too.
        told: takes the line that counts and names records that are skipped, if any are.

    Raises:
        InputError: no such file, not JSON, a bad record (see above), or no record that can be used.
    """
    path = Path(path)
    converter(format)  # a slip in it is told before the file is read
    records = ((f"line {line}", record) for line, record in _read(path))
    return _facts(str(path), records, format, strict or format == "facts", told)


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
    converter(format)
    folder = places.expanded(name)
    if not os.path.isdir(folder):
        if not hub_repositories.is_id(name):
            raise InputError(f"data set {name!r}: no such folder, nor can it be the id of a data set on the hub")
        folder = hub_repositories.snapshot(name, "dataset", revision, DATA_FILES)
    import datasets

    try:
        rows = datasets.load_dataset(str(folder), config, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"data set {name!r}, split {split!r}: cannot be loaded ({reason})") from None
    records = ((f"record {index}", row) for index, row in enumerate(rows))
    return _facts(f"{name}, split {split}", records, format, strict or format == "facts", told)


# Reading


def _facts(
    source: str, records: Iterable[tuple[str, Any]], format: str, strict: bool, told: Callable[[str], None]
) -> list[Fact]:
    convert = converter(format)
    facts: list[Fact] = []
    skipped: list[str] = []
    looks = ""  # which other format the first bad record is of
    for where, record in records:
        try:
            if not isinstance(record, Mapping):
                raise InputError(f"not a JSON object but {shown(record)}")
            facts.append(convert(record, where).read_from(f"{source}, {where}"))
        except InputError as error:
            if strict:
                raise InputError(f"{source}, {where}: {error}{hint(record, format)}") from None
            looks = looks or hint(record, format)
            skipped.append(f"{where} ({error})")
    if not facts:
        why = f"; first {skipped[0]}{looks}" if skipped else ""
        raise InputError(f"{source}: no record that can be used{why}")
    if skipped:
        named = "; ".join(skipped[:SHOWN]) + ("; ..." if len(skipped) > SHOWN else "") + looks
        told(f"{source}: {len(skipped)} of {len(facts) + len(skipped)} records skipped: {named}")
    return facts


def _read(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, record) of a file with one JSON object a line, or one JSON array."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; one JSON object a line is wanted") from None
    return json_files.read(path, text)
