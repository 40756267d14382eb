"""cluster.yaml is what `ray up` accepts, scales from zero and stays private."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())


def ray_schema() -> dict[str, Any]:
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    return json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())


def test_it_agrees_with_rays_schema(cluster: dict[str, Any]) -> None:
    jsonschema.validate(cluster, ray_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "max_wrokers": 3}, ray_schema())


def test_workers_scale_from_zero_and_the_head_runs_no_trial(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    workers = [kind for kind in types if kind != cluster["head_node_type"]]
    assert workers
    assert all(types[kind].get("min_workers", 0) == 0 for kind in workers)
    assert types[cluster["head_node_type"]]["resources"]["CPU"] == 0


def test_every_node_starts_ray_with_token_authentication_and_a_private_dashboard(cluster: dict[str, Any]) -> None:
    starts = [
        line
        for part in ("head_start_ray_commands", "worker_start_ray_commands")
        for line in cluster[part]
        if "ray start" in line
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in cluster["file_mounts"].values()
