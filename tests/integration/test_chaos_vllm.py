"""The same kills with vLLM, whose engines are children of the trials: they end with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfolder.whole_files import TEMPORARY
from sweeps.store.store import Store
from tests.integration.chaos import config_for, disturb
from tests.tiny import save_tiny

pytestmark = [pytest.mark.slow, pytest.mark.vllm]


def test_trials_a_node_and_the_driver_are_killed_with_their_engines(tmp_path: Path) -> None:
    config = config_for(save_tiny("llama", tmp_path / "model"), "vllm", trials=1)
    disturb(config, Store(tmp_path / "out"), tmp_path, kills=1)
    assert not list((tmp_path / "out").rglob(f"{TEMPORARY}*"))
