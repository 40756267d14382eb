"""One thread at a time: hooks, edits and half-written weights of one thread would be in another's numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from rect.model import EditableModel

M = TypeVar("M", bound="EditableModel")
P = ParamSpec("P")
R = TypeVar("R")


def exclusive(function: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """A function (or method) of a model, its first argument, which has the model to itself while it runs."""

    @functools.wraps(function)
    def alone(model: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with model.lock:
            return function(model, *args, **kwargs)

    return alone
