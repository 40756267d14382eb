"""Trials, a node and the driver are killed on a real cluster of three nodes, and the rows are those of a quiet run."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfolder.whole_files import TEMPORARY
from sweeps.store.store import Store
from tests.integration.chaos import config_for, disturb
from tests.tiny import save_tiny

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("method", ["rome", "alphaedit"])  # the second remembers
def test_trials_a_node_and_the_driver_are_killed(tmp_path: Path, method: str) -> None:
    config = config_for(save_tiny("llama", tmp_path / "model"), method=method)
    disturb(config, Store(tmp_path / "out"), tmp_path, kills=2)
    assert not list((tmp_path / "out").rglob(f"{TEMPORARY}*"))
