"""Errors of the package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave is wrong: one line that says what, where (file, line, field), and what would be right."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Names the known word closest to `name`, and all of them: the tail of an error message."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
