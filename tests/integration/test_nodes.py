"""What a driver finds out of a cluster: what the first node to come has, and which nodes do not see the folder."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from modelfolder.errors import InputError
from sweeps.run import cluster
from sweeps.store.folder import Folder
from tests.sweeps.small import small_config

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head that takes no trial, and nothing else."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def test_nodes_that_come_and_nodes_that_do_not_see_the_folder(nodes: Cluster, tmp_path: Path) -> None:
    config = small_config(Path("model"), resources={"cpus": 1})
    with ThreadPoolExecutor(1) as aside:
        found = aside.submit(cluster.placement, config)
        time.sleep(1)
        assert not found.done()
        nodes.add_node(num_cpus=1, num_gpus=1)
        assert found.result().bundles == [{"CPU": 1, "GPU": 1}]

    for url in (str(tmp_path), "memory://sweep"):  # a process' memory is its own
        Folder(url).write("token", b"")
    cluster.check_shared(str(tmp_path), "token")
    with pytest.raises(InputError, match=rf"--out memory://sweep: .*{socket.gethostname()}.* does not see"):
        cluster.check_shared("memory://sweep", "token")


@pytest.fixture
def with_gpus() -> Iterator[None]:
    """Ray with two GPUs, in name."""
    ray.init(num_cpus=1, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("with_gpus")
@pytest.mark.parametrize(("wanted", "seen"), [(0, ""), (1, "0")])
def test_a_trial_sees_the_gpus_that_it_was_given(wanted: int, seen: str) -> None:
    @ray.remote(num_gpus=wanted)
    def visible() -> str | None:
        import os

        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0,1")  # as on a machine that has them
        cluster.hide_devices(ray.get_runtime_context().get_accelerator_ids()["GPU"])
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    assert ray.get(visible.remote()) == seen
