"""Who computes what within a run: an operation that several cells share is computed by one worker, the others wait.

A claim is a lease that its worker renews; that of a dead worker runs out. Across runs nobody is asked: the store's
put-if-absent makes a second computation harmless, and so is one that begins because a lease ran out too early.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import ray
from ray.actor import ActorHandle

LEASE = 15.0  # seconds until a claim that is not renewed is over
RENEWALS = 5  # within a lease
POLL = 0.25  # seconds between two looks at an operation that another worker has


class Register:
    """Which cell has which operation; one Ray actor of this class per run. It imports nothing heavy.

    Args:
        lease: seconds that a claim lasts.
    """

    def __init__(self, lease: float = LEASE) -> None:
        self._lease = lease
        self._held: dict[str, tuple[str, float]] = {}

    def take(self, operation: str, cell: str) -> bool:
        """Whether this cell has the operation from now on; one that has it already has it for another lease."""
        holder, until = self._held.get(operation, ("", 0.0))
        now = time.monotonic()
        if holder != cell and now < until:
            return False
        self._held[operation] = (cell, now + self._lease)
        return True

    def drop(self, operation: str, cell: str) -> None:
        """Give the operation up."""
        if self._held.get(operation, ("",))[0] == cell:
            del self._held[operation]


@contextlib.contextmanager
def register(lease: float = LEASE) -> Iterator[ActorHandle[Any]]:
    """A register for one run."""
    remote: Any = ray.remote(Register)
    actor = remote.options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote(lease)
    try:
        yield actor
    finally:
        ray.kill(actor)


class Claims:
    """A worker's side: `with claims(operation, cell): ...` runs its body while no other cell has that operation."""

    def __init__(self, register: ActorHandle[Any], lease: float = LEASE) -> None:
        self._register = register
        self._every = lease / RENEWALS

    @contextlib.contextmanager
    def __call__(self, operation: str, cell: str) -> Iterator[None]:
        while not ray.get(self._register.take.remote(operation, cell)):
            time.sleep(POLL)
        done = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(operation, cell, done), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()
            self._register.drop.remote(operation, cell)

    def _renew(self, operation: str, cell: str, done: threading.Event) -> None:
        while not done.wait(self._every):
            self._register.take.remote(operation, cell)
