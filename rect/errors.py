"""The one error for bad input, `modelfolder.errors.InputError`, by the name that users of `rect` know."""

from modelfolder.errors import InputError

__all__ = ["InputError"]
