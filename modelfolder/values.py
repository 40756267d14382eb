"""What a value of JSON or YAML is, in words: for lines that say what stands where something else belongs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def shown(value: Any) -> str:
    """What a JSON value is, in a few words and one line.

    >>> shown(["a", "b"])
    'a list of 2'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"a string ({_short(value)})" if value.strip() else "an empty string"
    if isinstance(value, int | float):
        return f"a number ({value:.6g})" if isinstance(value, float) else "a number"
    if isinstance(value, Mapping):
        keys = ", ".join(_short(str(key)) for key in list(value)[:3]) + (", ..." if len(value) > 3 else "")
        return f"an object with the keys {keys}" if value else "an empty object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    return f"a {type(value).__name__}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
