"""YAML files as plain data, with the line of every key, and `key=value` overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from modelfolder.errors import InputError


def mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    return mapping_with_lines(path)[0]


def mapping_with_lines(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping in a YAML file, and {dotted key: line}.

    Raises:
        InputError: no such file, not YAML, a key given twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: a mapping of keys to values is wanted, found {type(data).__name__}")
    lines: dict[str, int] = {}
    _walk(root, "", lines, path)
    return data, lines


def _walk(node: Any, prefix: str, lines: dict[str, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise InputError(f"{path}:{line}: the key '{key.value}' is given twice")
            seen.add(str(key.value))
            dotted = f"{prefix}.{key.value}" if prefix else str(key.value)
            lines[dotted] = line
            _walk(value, dotted, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            dotted = f"{prefix}.{index}" if prefix else str(index)
            lines[dotted] = value.start_mark.line + 1
            _walk(value, dotted, lines, path)


def override(data: dict[str, Any], text: str) -> str:
    """Apply one `a.b.0.c=value` to the data in place; the value is YAML. Returns the dotted key."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or not all(key.split(".")):
        raise InputError(f"--set {text}: key=value is wanted, such as --set tasks.examples=4")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"--set {text}: the value is not valid YAML") from None
    *parents, last = key.split(".")
    place: Any = data
    for part in parents:
        place = _step(place, part, text)
    if isinstance(place, list):
        place[_index(place, last, text)] = parsed
    elif isinstance(place, dict):
        place[last] = parsed
    else:
        raise InputError(f"--set {text}: '{'.'.join(parents)}' is a single value and has no key '{last}'")
    return key


def _step(place: Any, part: str, text: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, text)]
    if isinstance(place, dict):
        if place.get(part) is None:
            place[part] = {}
        return place[part]
    raise InputError(f"--set {text}: nothing can be set below '{part}'")


def _index(place: list[Any], part: str, text: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise InputError(f"--set {text}: '{part}' is no index of a list of {len(place)} (the first is 0)")
    return int(part)
