"""Claims on a real Ray: one worker at a time, and a claim ends with its worker."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from sweeps.run import claims

LEASE = 2.0


@pytest.fixture(scope="module")
def register() -> Iterator[Any]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with claims.register(LEASE) as actor:
        yield actor
    ray.shutdown()


@ray.remote(num_cpus=0, max_restarts=0)
class Worker:
    """What a trial does with an operation, and when."""

    def __init__(self, register: Any) -> None:
        self._alone = claims.Claims(register, LEASE)

    def work(self, operation: str, cell: str, seconds: float) -> tuple[float, float]:
        with self._alone(operation, cell):
            began = time.time()
            time.sleep(seconds)
            return began, time.time()

    def pid(self) -> int:
        return os.getpid()


def test_one_operation_is_one_cells_at_a_time(register: Any) -> None:
    workers = [Worker.remote(register) for _ in range(3)]
    ray.get([worker.pid.remote() for worker in workers])  # all are up before the first begins
    works = [worker.work.remote("same", f"cell-{i}", 1.5 * LEASE / 2) for i, worker in enumerate(workers)]
    spans = sorted(ray.get(works))
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    works = [worker.work.remote(f"own-{i}", f"cell-{i}", 1.0) for i, worker in enumerate(workers)]
    spans = ray.get(works)
    assert max(began for began, _ in spans) < min(ended for _, ended in spans)  # others are not waited for


def test_a_claim_that_is_renewed_outlives_its_lease_and_that_of_a_dead_worker_does_not(register: Any) -> None:
    dying, waiting = Worker.remote(register), Worker.remote(register)
    pid = ray.get(dying.pid.remote())
    dying.work.remote("lost", "cell-1", 600.0)
    time.sleep(0.5)
    waited = waiting.work.remote("lost", "cell-2", 0.0)
    assert not ray.wait([waited], timeout=2 * LEASE)[0]
    os.kill(pid, signal.SIGKILL)
    assert ray.get(waited, timeout=60)


def test_the_next_attempt_of_a_cell_takes_over_what_the_last_one_had() -> None:
    register = claims.Register(lease=600.0)
    assert register.take("operation", "cell-1")
    assert register.take("operation", "cell-1")
    assert not register.take("operation", "cell-2")
    register.drop("operation", "cell-2")  # not its own
    assert not register.take("operation", "cell-2")
    register.drop("operation", "cell-1")
    assert register.take("operation", "cell-2")
