"""Records of JSON files, each with the line on which it begins: one value a line, or the elements of one array."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelfolder.errors import InputError
from modelfolder.values import shown


def read(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """(line, value) of a file's text.

    Raises:
        InputError: it is something else; with file, line and column.
    """
    return _array(path, text) if text.lstrip().startswith("[") else _lines(path, text)


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(_not_json(path, text, number, error)) from None
            yield number, value


def _array(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(_not_json(path, text, getattr(error, "lineno", 1), error)) from None
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    line = text.count("\n", 0, at) + 1
    for value in values:  # json tells no places: each is decoded once more, for where it ends
        start = at
        while text[start] in " \t\r\n,":
            start += 1
        line += text.count("\n", at, start)
        yield line, value
        at = decoder.raw_decode(text, start)[1]
        line += text.count("\n", start, at)


def _not_json(path: Path, text: str, line: int, error: Exception) -> str:
    """Why a line cannot be read; a file that is one JSON value over several lines is called that."""
    if isinstance(error, json.JSONDecodeError):
        reason = f"{error.msg} at column {error.colno}"
    else:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return f"{path}, line {line}: not valid JSON ({reason})"
    return f"{path}: holds {shown(whole)} over several lines; one JSON object a line or one array of them is wanted"
