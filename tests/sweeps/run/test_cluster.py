"""What a trial takes, how cells are spread over experiments, and whom a sweep tells: no Ray is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from modelfolder.errors import InputError
from sweeps.config.config import ModelSpec
from sweeps.plan.grid import Cell
from sweeps.run import cluster, experiment, tracking
from sweeps.store.folder import Folder
from tests.sweeps.small import small_config


@pytest.mark.parametrize(
    ("resources", "engine", "nodes", "wanted"),
    [
        ({"cpus": 2}, {}, (8, 0), {"CPU": 2}),
        ({"cpus": 4}, {}, (2, 0), {"CPU": 2}),  # no more than the largest node has
        ({"cpus": 2}, {}, (0, 0), {"CPU": 2}),  # nodes are still to come
        ({"cpus": 2}, {}, (8, 4), {"CPU": 2, "GPU": 1}),
        ({"cpus": 2, "gpus": 0}, {}, (8, 4), {"CPU": 2}),
        ({"cpus": 2}, {"tensor_parallel_size": 2}, (8, 4), {"CPU": 2, "GPU": 3}),  # the engine has two for itself
        ({"cpus": 2, "gpus": 2}, {"tensor_parallel_size": 2}, (8, 4), {"CPU": 2, "GPU": 4}),
        ({"cpus": 2}, {"tensor_parallel_size": 2}, (8, 0), {"CPU": 2}),
    ],
)
def test_what_a_trial_takes(
    resources: dict[str, Any], engine: dict[str, Any], nodes: tuple[float, float], wanted: dict[str, float]
) -> None:
    config = small_config(Path("model"), resources=resources, engine={"name": "transformers", **engine})
    assert cluster.bundle(config, *nodes) == wanted


def test_a_fraction_of_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match=r"resources\.gpus: a trial holds .* right would be 0, 1 or auto"):
        small_config(Path("model"), resources={"gpus": 0.5})
    assert small_config(Path("model"), resources={"gpus": 1.0}).resources.gpus == 1


def test_a_split_engine_sees_the_gpus_that_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    with cluster.engine_devices(2):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5,7"
    with cluster.engine_devices(1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5,7"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with cluster.engine_devices(2):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (3, [3]), (10, [10]), (11, [5, 6]), (25, [8, 8, 9])])
def test_many_cells_are_spread_over_experiments(number: int, sizes: list[int]) -> None:
    cells = [Cell(ModelSpec(name="model"), seed=seed) for seed in range(number)]
    parts = list(experiment.shards(cells, size=10))
    assert [len(part) for part in parts] == sizes
    assert [cell for part in parts for cell in part] == cells


def test_tunes_files_go_below_the_sweeps(tmp_path: Path) -> None:
    assert experiment.storage_path(Folder(tmp_path)) == str(tmp_path / "tune")
    assert experiment.storage_path(Folder("memory://bucket/sweep/")) == "memory://bucket/sweep/tune"


def test_a_tool_that_is_not_installed_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.callbacks((), "sweep") == []
    [board] = tracking.callbacks(("tensorboard",), "sweep")
    assert type(board).__name__ == "TBXLoggerCallback"
    monkeypatch.setitem(tracking.TOOLS, "wandb", ("no_such_package", *tracking.TOOLS["wandb"][1:]))
    with pytest.raises(InputError, match="track: wandb is not installed: pip install no_such_package"):
        tracking.check(("wandb",))
    with pytest.raises(InputError, match="track"):
        small_config(Path("model"), track=["tensorbord"])


def test_a_search_asks_for_as_many_trials_as_have_room() -> None:
    nodes = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 5.0, "GPU": 8.0}, {"CPU": 64.0}]
    assert cluster.fitting({"CPU": 2, "GPU": 1}, nodes) == 4 + 2 + 0
    assert cluster.fitting({"CPU": 2, "GPU": 0}, nodes) == 8 + 2 + 32
