"""The one error for bad input; it lives in `modelfolder`, which `rect` and `tasks` share."""

from modelfolder.errors import InputError, nearest

__all__ = ["InputError", "nearest"]
