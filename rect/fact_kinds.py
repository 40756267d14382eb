"""Which format a record of facts looks like, told by its keys: for `auto`, and for the line that says why one cannot be
read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from modelfolder.errors import InputError
from rect.fact_readers import FORMATS

AUTO = "auto"

UNREAD = {  # {name: keys that are all there}: formats that are told apart and not read
    "UnKE": ({"question", "answer", "para_question"}, {"question", "answer", "sub_question"}),
    "ROME's known facts": ({"subject", "attribute", "known_id"}, {"subject", "attribute", "template"}),
}


class Kind(NamedTuple):
    """What a record looks like.

    Attributes:
        name: as the field calls it.
        format: the value of `format` that reads it; "" where none does.
    """

    name: str
    format: str


def looks_like(record: Any) -> Kind | None:
    """The format whose keys a record has. One with several rewrites under `requested_rewrite` is MQuAKE's."""
    if not isinstance(record, Mapping):
        return None
    if isinstance(record.get("requested_rewrite"), list):
        return Kind(FORMATS["mquake"].name, "mquake")
    for format, one in FORMATS.items():
        if one.fits(record):
            return Kind(one.name, format)
    unread = (name for name, keys in UNREAD.items() if any(some <= record.keys() for some in keys))
    return next((Kind(name, "") for name in unread), None)


def hint(record: Any, format: str) -> str:
    """The tail of an error message where a record looks like another format than the one that was asked for."""
    kind = looks_like(record)
    if kind is None or kind.format == format:
        return ""
    return f"; it looks like {kind.name}, {f'format {kind.format}' if kind.format else 'which is not read here'}"


def told_by(records: Iterable[Any], source: str) -> Kind:
    """The format of a file: that of the first record that looks like one.

    Raises:
        InputError: none does, or it is one that is not read.
    """
    kind = next((kind for kind in map(looks_like, records) if kind is not None), None)
    if kind is None:
        raise InputError(f"{source}: no record looks like a format that is known; known: {', '.join(FORMATS)}")
    if not kind.format:
        raise InputError(f"{source}: looks like {kind.name}, which is not read here")
    return kind
