"""Ray: a cluster of one's own or one that is there, and what each trial takes of it."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.config import ResourcesSpec

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

log = logging.getLogger(__name__)

GIB = 2**30


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray at an address, or without one a Ray of this process' own that ends with it, even by SIGKILL.

    A stranger's cluster on this machine is never joined by accident: `address="local"` says so. An already initialized
    Ray (a notebook, a test) is used and left running.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            yield
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",  # its ports are nobody else's business
            )
            with _agents_end_with_us():
                yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _agents_end_with_us() -> Iterator[None]:
    """End Ray's agents when this process is killed.

    Head, raylet and workers end with their driver. The raylet's two agents outlive it by a minute (Ray 2.60):
    they report its death to a head that is dead too. A shell that sees our end of a pipe close kills them at once.
    """
    import psutil

    mine = psutil.Process().children(recursive=True)
    agents = [str(process.pid) for process in mine if "Agent" in " ".join(process.cmdline())]
    command = ["/bin/sh", "-c", 'read _; kill -9 "$@" 2>/dev/null', "sh", *agents]
    shell = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        shell.kill()
        shell.wait()


def placement(resources: ResourcesSpec) -> PlacementGroupFactory:
    """What one trial takes: model and engine share its GPU."""
    import ray
    from ray.tune import PlacementGroupFactory

    cluster = ray.cluster_resources()
    gpus = float(cluster.get("GPU", 0) >= 1) if resources.gpus == "auto" else resources.gpus
    cpus = min(resources.cpus, max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]))
    bundle = {"CPU": cpus or resources.cpus}
    return PlacementGroupFactory([bundle | ({"GPU": gpus} if gpus else {})])


def concurrency(resources: ResourcesSpec, cells: int, local: bool, folders: list[Path], kv_cache_gib: float) -> int:
    """How many trials run at a time: as configured, else what the resources allow.

    On a machine of one's own memory counts as well: a trial holds the model, the engine's copy of it, and the cache.
    """
    if resources.concurrency != "auto":
        return min(resources.concurrency, cells)
    if not local:
        return cells
    import psutil
    import ray

    weights = max((sum(file.stat().st_size for file in folder.glob("*.safetensors")) for folder in folders), default=0)
    each = 2.5 * weights + (kv_cache_gib + 1.5) * GIB
    by_memory = int(psutil.virtual_memory().available // each)
    cpus = ray.cluster_resources().get("CPU", 1)
    by_cpus = int(cpus // min(resources.cpus, cpus))
    return max(1, min(by_memory, by_cpus, cells))
