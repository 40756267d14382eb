"""Ctrl-C and SIGTERM as KeyboardInterrupt, also while a library starts that swallows it or sets handlers of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from types import FrameType

MARK = "RECT_SWEEPS_STARTED_BY"
"""Environment variable by which processes are known as this one's own, whoever is their parent by then."""


def interruptible() -> AbstractContextManager[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt here. To be entered anew after `ray.init`, which sets handlers."""
    return _handled({signal.SIGTERM: signal.default_int_handler})


@contextlib.contextmanager
def noticed() -> Iterator[None]:
    """As `interruptible`, and an interrupt that was swallowed within is raised at the end."""
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores it
        numbers.append(signal.SIGINT)
    with _handled(dict.fromkeys(numbers, handler)):
        yield
    if seen:
        raise KeyboardInterrupt


def undisturbed() -> AbstractContextManager[None]:
    """Ctrl-C and SIGTERM do nothing: what has to be cleaned up is."""
    return _handled(dict.fromkeys([signal.SIGTERM, signal.SIGINT], signal.SIG_IGN))


@contextlib.contextmanager
def _handled(handlers: dict[signal.Signals, signal._HANDLER]) -> Iterator[None]:
    """Handlers for a while; in another thread than the main one nothing changes."""
    before = {}
    try:
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError):
                before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def marked() -> Iterator[str]:
    """What is started within, and what that starts, carries a mark in its environment. Yields it."""
    mark = uuid.uuid4().hex
    with environment({MARK: mark}):
        yield mark


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a while; afterwards they are what they were."""
    before = {name: os.environ.pop(name) for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)


def end(mark: str) -> None:
    """Kill the processes of a mark, until there is none: some start others meanwhile."""
    while found := _of(mark):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _of(mark: str) -> list[int]:
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mine = process.pid != os.getpid() and process.environ().get(MARK) == mark
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
