"""What is in deploy/ has the right form, and names what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.config import config

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "deploy" / "rayjob.yaml").read_text())


def containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    spec = job["spec"]
    groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    pods = [spec["submitterPodTemplate"], *(group["template"] for group in groups)]
    return [one for pod in pods for one in pod["spec"]["containers"]]


def test_every_container_has_the_image_and_the_token(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    found = containers(job)
    assert len(found) == 3
    assert len({one["image"] for one in found}) == 1
    for one in found:
        environment = {variable["name"]: variable for variable in one["env"]}
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        assert "secretKeyRef" in environment["RAY_AUTH_TOKEN"]["valueFrom"]


def test_workers_scale_from_zero_and_the_head_runs_no_trial(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    [gpu] = cluster["workerGroupSpecs"]
    assert (gpu["minReplicas"], gpu["replicas"]) == (0, 0)
    assert gpu["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_job_and_the_image_name_files_that_are_there(job: dict[str, Any]) -> None:
    words = job["spec"]["entrypoint"].split()
    assert config.load(REPOSITORY / words[words.index("run") + 1])
    recipe = (REPOSITORY / "deploy" / "Dockerfile").read_text()
    copied = [line.split()[1:-1] for line in recipe.splitlines() if line.startswith("COPY")]
    assert all((REPOSITORY / name).exists() for names in copied for name in names)


@pytest.mark.parametrize("name", ["search", "search-sequence"])
def test_the_searches_are_valid(name: str) -> None:
    assert config.load(REPOSITORY / "configs" / f"{name}.yaml").search is not None
