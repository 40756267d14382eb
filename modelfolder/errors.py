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


def reason(error: BaseException) -> str:
    """Another library's error in one line: its first one, or what to do about it."""
    text = str(error)
    if "trust_remote_code" in text:
        return "it comes with Python code of its own, which is run only with trust_remote_code"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
