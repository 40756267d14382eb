"""Hooks that are always taken off again, and a way to end a forward pass early."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class Stop(Exception):
    """Ends a forward pass when everything wanted has been seen."""


@contextlib.contextmanager
def hooked(handle: Any) -> Iterator[None]:
    """Take a hook (what `register_..._hook` returned) off at the end of the block, whatever happens in it."""
    try:
        yield
    finally:
        handle.remove()


def stop(*_: Any) -> None:
    """A hook, before or behind a module: nothing after it is run. The caller suppresses `Stop`."""
    raise Stop
