"""The one error for bad input, as opposed to a defect of the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line: what is wrong, where (file, line, key), and what would be right. The command line prints
    it without a traceback and exits with 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Names the known word closest to `name`, and all of them: the tail of an error message."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
