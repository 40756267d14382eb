"""Reading one field of a record, with an error that names it. The place (file and line) is added by tasks.sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelfolder.errors import InputError
from modelfolder.values import shown

Record = Mapping[str, Any]


def text(record: Record, name: str, empty: bool = False) -> str:
    """A text; `empty` allows one without any characters but white space."""
    return checked(_value(record, name), f"field {name!r}", empty)


def texts(record: Record, name: str, count: int | None = None) -> list[str]:
    """A list of at least one text (of exactly `count`)."""
    values = _value(record, name)
    wanted = "texts" if count is None else f"{count} texts"
    if not isinstance(values, list | tuple) or not values or (count is not None and len(values) != count):
        raise InputError(f"field {name!r} must be a list of {wanted}, not {shown(values)}")
    return [checked(value, f"field {name!r}, element {position}") for position, value in enumerate(values, start=1)]


def label(record: Record, name: str, labels: Mapping[str, str]) -> str:
    """A label: the value of `labels` for the text or whole number in the field."""
    value = _value(record, name)
    if isinstance(value, str | int) and str(value) in labels:
        return labels[str(value)]
    raise InputError(f"field {name!r} must be one of {', '.join(labels)}, not {shown(value)}")


def flag(record: Record, name: str) -> bool:
    """True or false; a text that says so is none."""
    value = _value(record, name)
    if not isinstance(value, bool):
        raise InputError(f"field {name!r} must be true or false, not {shown(value)}")
    return value


def checked(value: Any, what: str, empty: bool = False) -> str:
    """`value` if it is a text that can be written as UTF-8."""
    if not isinstance(value, str):
        raise InputError(f"{what} must be text, not {shown(value)}")
    if not empty and not value.strip():
        raise InputError(f"{what} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} holds a character that is not valid Unicode (a lone surrogate)") from None
    return value


def _value(record: Record, name: str) -> Any:
    if name not in record:
        found = ", ".join(repr(str(key)) for key in list(record)[:8]) or "nothing"
        raise InputError(f"field {name!r} is missing; found {found}")
    return record[name]
