"""The one error for bad input, as opposed to a defect of the program."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line: what is wrong, where (file, line, key), and what would be right. The command line prints
    it without a traceback and exits with 2.
    """
