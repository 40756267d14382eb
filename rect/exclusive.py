"""One thread at a time: hooks, edits and half-written weights of one thread would be in another's numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Locked(Protocol):
    """What has a lock that one thread may take several times: `rect.model.EditableModel`."""

    @property
    def lock(self) -> AbstractContextManager[object]: ...


M = TypeVar("M", bound=Locked)


def exclusive(function: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """A function (or method) of a model, its first argument, which has the model to itself while it runs."""

    @functools.wraps(function)
    def alone(model: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with model.lock:
            return function(model, *args, **kwargs)

    return alone
