"""The same kills with the store on an S3 protocol server on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.store.store import Store
from tests.integration.chaos import config_for, disturb
from tests.tiny import save_tiny

pytestmark = pytest.mark.slow


def test_trials_a_node_and_the_driver_are_killed_with_the_store_on_s3(tmp_path: Path, bucket: str) -> None:
    config = config_for(save_tiny("llama", tmp_path / "model"))
    disturb(config, Store(f"{bucket}/out"), tmp_path, kills=2)
