"""Ray: a cluster of one's own or one that is there, and what each trial takes of it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError
from rect import models
from sweeps.config.config import Config
from sweeps.run import interrupts, surroundings
from sweeps.store.folder import Folder

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

log = logging.getLogger(__name__)

GIB = 2**30


@contextlib.contextmanager
def connected(address: str | None, log_to_driver: bool = False) -> Iterator[None]:
    """Ray at an address, or without one a Ray of this process' own that ends with it, even by SIGKILL.

    A stranger's cluster on this machine is never joined by accident: `address="local"` says so. An already initialized
    Ray (a notebook, a test) is used and left running.

    Args:
        address: what `surroundings.cluster_address` takes.
        log_to_driver: show what workers print and log.

    Raises:
        InputError: Ray cannot start or join; in one line, and nothing that it began is left running.
        KeyboardInterrupt: Ctrl-C or SIGTERM, also while Ray starts; nothing that it began is left running then either.
    """
    import ray

    if ray.is_initialized():
        with interrupts.interruptible():
            yield
        return
    address = surroundings.cluster_address(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with contextlib.ExitStack() as while_it_runs:
        if address:
            surroundings.check_answers(address)
            arguments: dict[str, Any] = {"address": address}
            # one attempt of some 45 seconds in place of 20; what the core says meanwhile is said better afterwards
            patience = {"RAY_gcs_server_port_wait_time_s": "1", "RAY_BACKEND_LOG_LEVEL": "fatal"}
        else:
            arguments = {
                "address": "local",
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",  # its ports are nobody else's business
                "_temp_dir": _folder(),
            }
            patience = {}
            while_it_runs.enter_context(surroundings.set_where_unset(**surroundings.token_in_memory()))
        while_it_runs.callback(ray.shutdown)
        with surroundings.set_where_unset(**patience), _nothing_left_behind(address):
            ray.init(**arguments, log_to_driver=log_to_driver, logging_level=logging.ERROR)
        while_it_runs.enter_context(interrupts.interruptible())
        if not address:
            while_it_runs.enter_context(_agents_end_with_us())
        yield


def _folder() -> str | None:
    """Where a Ray of one's own keeps its files; None for its own choice."""
    folder, reason = surroundings.ray_folder()
    if folder is not None:
        log.warning("Ray keeps its files in %s: %s", folder, reason)
    return folder


@contextlib.contextmanager
def _nothing_left_behind(address: str | None) -> Iterator[None]:
    """Within it Ray starts; where it cannot or is interrupted, the processes that it has started are ended.

    Where it cannot, one line says why. Agents are children of a raylet that may be gone, so that they are no longer
    among our own: they are known by a mark.
    """
    import ray

    with interrupts.marked() as mark:
        try:
            with interrupts.noticed():
                yield
        except BaseException as error:
            with interrupts.undisturbed():
                log.info("Ray cannot be used", exc_info=error)
                ray.shutdown()
                interrupts.end(mark)
            if isinstance(error, SystemExit):  # of the handler that Ray sets for SIGTERM
                raise KeyboardInterrupt from None
            if not isinstance(error, Exception):
                raise
            raise surroundings.refusal(error, address) from error


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


def placement(config: Config) -> PlacementGroupFactory:
    """What one trial takes of the cluster that this process is connected to.

    A cluster that grows from nothing is asked for a first node, which is waited for: it tells whether there are GPUs.
    """
    import ray
    from ray.tune import PlacementGroupFactory

    there = any(node["Alive"] and node["Resources"].get("CPU") for node in ray.nodes())
    if config.resources.gpus == "auto" and not there:
        log.warning("no node of the cluster takes trials yet: waiting for the first one")
        ray.get(ray.remote(num_cpus=config.resources.cpus)(lambda: None).remote())  # for which it has to grow
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    return PlacementGroupFactory([bundle(config, largest, ray.cluster_resources().get("GPU", 0))])


def bundle(config: Config, cpus: float, gpus: float) -> dict[str, float]:
    """CPUs and GPUs of one trial, all on one node: model and engine exchange tensors through its memory.

    Model and engine share a GPU; an engine that is split over several has these for itself, beside the model's.

    Args:
        config: of the sweep.
        cpus: that the largest node has; a trial asks for no more.
        gpus: that the cluster has now.
    """
    resources = config.resources
    mine = float(gpus >= 1) if resources.gpus == "auto" else resources.gpus
    split = config.engine.tensor_parallel_size
    if split > 1 and mine:
        mine = math.ceil(mine) + split
    return {"CPU": min(resources.cpus, cpus) or resources.cpus} | ({"GPU": mine} if mine else {})


def hide_devices(assigned: Sequence[str]) -> None:
    """Let this process see no GPU where it was assigned none: Ray shows all of them to who asks for none."""
    if not assigned:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def engine_devices(split: int) -> contextlib.AbstractContextManager[None]:
    """What is started within sees the engine's GPUs alone: the last `split` ones, if it is split over several."""
    mine = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    alone = split > 1 and len(mine) > split
    return interrupts.environment({"CUDA_VISIBLE_DEVICES": ",".join(mine[-split:])} if alone else {})


def concurrency(config: Config, cells: int, local: bool) -> int:
    """How many trials run at a time: as configured, else what the resources allow.

    On a machine of one's own memory counts as well: a trial holds the model, the engine's copy of it, and the cache. A
    cluster may grow, so there as many are asked for as there are cells.
    """
    resources = config.resources
    if resources.concurrency != "auto":
        return min(resources.concurrency, cells)
    if not local:
        return cells
    import psutil
    import ray

    folders = [models.resolve(spec.name, spec.revision) for spec in config.models]
    weights = max((sum(file.stat().st_size for file in folder.glob("*.safetensors")) for folder in folders), default=0)
    each = 2.5 * weights + (config.engine.kv_cache_gib + 1.5) * GIB
    by_memory = int(psutil.virtual_memory().available // each)
    cpus = ray.cluster_resources().get("CPU", 1)
    by_cpus = int(cpus // min(resources.cpus, cpus))
    return max(1, min(by_memory, by_cpus, cells))


def room(config: Config, trials: int) -> int:
    """How many trials of a search run at a time on a cluster: those that its nodes have room for now.

    Each k is chosen by what those before it have found, so that more in a queue would be chosen by nothing.
    """
    import ray

    if config.resources.concurrency != "auto":
        return min(config.resources.concurrency, trials)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max(1, min(fitting(placement(config).bundles[0], nodes), trials))


def fitting(wanted: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials that want these resources fit on nodes, each on one of them."""
    return sum(int(min(node.get(what, 0) // much for what, much in wanted.items() if much)) for node in nodes)


def check_shared(url: str, token: str) -> None:
    """Every node must see what the driver wrote into the output folder.

    Args:
        url: of the folder.
        token: a file in it.

    Raises:
        InputError: a node does not, and is named. One that joins later is found out when its first trial begins.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    look = ray.remote(num_cpus=0)(lambda: Folder(url).exists(token))
    asked = {
        node: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes
    }
    blind = [nodes[node] for node, answer in asked.items() if not ray.get(answer)]
    if blind:
        raise InputError(
            f"--out {url}: {', '.join(blind)} does not see what this process wrote there; "
            "name a folder that all nodes share, or an object store"
        )
