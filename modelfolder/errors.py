"""The one error for bad input, as opposed to a defect of the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line: what is wrong, where (file, line, key), and what would be right. The command line prints
    it without a traceback and exits with 2.
    """


def nearest(name: object, known: Iterable[object], head: str = "known: ") -> str:
    """The known word closest to `name`, and all of them behind a head: the tail of an error message.

    >>> nearest("roem", ["rome", "kn"])
    "did you mean 'rome'? known: rome, kn"
    """
    names = list(map(str, known))
    return f"{closest(name, names)} {head}{', '.join(names)}".lstrip()


def closest(name: object, known: Iterable[object]) -> str:
    """A question after the known word closest to `name`, or nothing."""
    close = difflib.get_close_matches(str(name), list(map(str, known)), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


def reason(error: BaseException) -> str:
    """Another library's error in one line: its first one, or what to do about it."""
    text = str(error)
    if "trust_remote_code" in text:
        return "it comes with Python code of its own, which is run only with trust_remote_code"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(error, KeyError) or not lines:
        return " ".join([type(error).__name__, *lines[:1]])
    return lines[0]
