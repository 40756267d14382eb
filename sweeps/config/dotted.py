"""`a.b.0.c=value` on the command line, in place of what a configuration says."""

from __future__ import annotations

from typing import Any

from modelfolder import yaml_files
from modelfolder.errors import InputError


def override(data: dict[str, Any], text: str) -> str:
    """Apply one `a.b.0.c=value` to the data in place; the value is YAML. Returns the dotted key."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or not all(key.split(".")):
        raise InputError(f"--set {text}: key=value is wanted, such as --set tasks.examples=4")
    try:
        parsed, _ = yaml_files.read(value, "")
    except InputError:
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
