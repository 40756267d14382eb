"""File formats of the data sets: JSON lines, a JSON array, GLUE's TSV, CoNLL columns, MuTual's text files.

A reader yields (where, record): where it stands ("file, line 3") and its fields. All are parsed as data, nothing is
ever evaluated. Whatever a file holds, a reader raises nothing but InputError.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelfolder import json_files
from modelfolder.errors import InputError
from modelfolder.values import shown

Located = tuple[str, dict[str, Any]]


def read(path: Path, text: str = "") -> Iterator[Located]:
    """The records of a file, by its ending: .jsonl, .json, .tsv, and plain text of the given kind ("conll", "mutual").

    Raises InputError for a file that cannot be read, another ending, or an empty file.
    """
    kind = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".tsv": "tsv"}.get(path.suffix.lower(), text)
    if not kind:
        raise InputError(
            f"{path}: no reader for {path.suffix or 'a file without an ending'}: use .jsonl, .json or .tsv"
        )
    try:
        raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:  # a NUL or a surrogate in the name
        raise InputError(f"{str(path)!r}: no name of a file ({error})") from None
    empty = True
    for located in READERS[kind](path, raw):
        empty = False
        yield located
    if empty:
        raise InputError(f"{path}: no records in it")


def json_records(path: Path, raw: bytes) -> Iterator[Located]:
    """One JSON object a line, or one JSON array of objects."""
    for line, record in json_files.read(path, "\n".join(text for _, text in _lines(path, raw))):
        where = f"{path}, line {line}"
        if not isinstance(record, dict):
            raise InputError(f"{where}: must be a JSON object, not {shown(record)}")
        yield where, record


def tsv_records(path: Path, raw: bytes) -> Iterator[Located]:
    """Tab-separated with a header line and no quoting, as GLUE has it; a CSV writer's quoting of cells is undone."""
    header: list[str] | None = None
    for where, line in _lines(path, raw):
        if not line.strip():
            continue
        cells = [_unquoted(cell) for cell in line.split("\t")]
        if header is None:
            header = [cell.strip() for cell in cells]
            if twice := [name for name in header if header.count(name) > 1]:
                raise InputError(f"{where}: the header names {twice[0]!r} twice")
        elif len(cells) != len(header):
            raise InputError(
                f"{where}: {len(cells)} columns, but the header has {len(header)}: {', '.join(header)}"[:300]
            )
        else:
            yield where, dict(zip(header, cells, strict=True))


def conll_records(path: Path, raw: bytes) -> Iterator[Located]:
    """A token a line, its tag in the last column, a blank line after each sentence; -DOCSTART- lines are dropped."""
    start, tokens, tags, columns = "", [], [], 0
    for where, line in _lines(path, raw):
        cells = line.split()
        if cells and cells[0] != "-DOCSTART-":
            if len(cells) < 2 or (columns and len(cells) != columns):
                raise InputError(
                    f"{where}: {len(cells)} columns where {columns or 'at least 2'} were expected (token ... tag)"
                )
            columns = len(cells)
            start = start or where
            tokens.append(cells[0])
            tags.append(cells[-1])
        elif tokens:
            yield start, {"tokens": tokens, "ner_tags": tags}
            start, tokens, tags = "", [], []
    if tokens:
        yield start, {"tokens": tokens, "ner_tags": tags}


def mutual_records(path: Path, raw: bytes) -> Iterator[Located]:
    """One dialogue a file: a JSON object or a literal of Python, parsed, not evaluated."""
    where = f"{path}, line 1"
    source = _decoded(raw, where).strip()
    if not source:
        return
    try:
        record = json.loads(source)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                record = ast.literal_eval(source)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise InputError(f"{where}: neither a JSON object nor a dictionary of texts") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: must hold one dictionary, not {shown(record)}")
    yield where, record


READERS: dict[str, Callable[[Path, bytes], Iterator[Located]]] = {
    "json": json_records,
    "tsv": tsv_records,
    "conll": conll_records,
    "mutual": mutual_records,
}


def _lines(path: Path, raw: bytes) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(raw.split(b"\n"), start=1):
        where = f"{path}, line {number}"
        yield where, _decoded(line, where).removesuffix("\r")


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text (byte {error.start}: 0x{raw[error.start]:02x})") from None


def _unquoted(cell: str) -> str:
    """Undoes CSV quoting: only where the cell is enclosed in quotes and all quotes inside are doubled, and some are."""
    inner = cell[1:-1]
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"' and '""' in inner and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell
