"""A bucket that cannot be reached for a while amid a sweep costs that while: the sweep goes on, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from sweeps.store.store import Store
from tests.integration.chaos import PATIENCE, ROOT
from tests.integration.conftest import Server
from tests.sweeps.small import computed, quiet, small_config, values
from tests.tiny import save_tiny

pytestmark = pytest.mark.slow

AWAY = 20.0  # seconds; the client's own attempts take fewer


def test_a_sweep_outlasts_the_absence_of_its_bucket(bucket: str, s3_server: Server, tmp_path: Path) -> None:
    """The server goes after the first rows, for what the trial, the driver and Tune write alike."""
    config = small_config(
        save_tiny("llama", tmp_path / "model"), regularizers=["none"], resources={"cpus": 1, "concurrency": 1}
    )
    path, log = tmp_path / "small.yaml", tmp_path / "log"
    path.write_text(config.as_yaml())
    whole = quiet(config, tmp_path / "whole")

    store = Store(f"{bucket}/sweep")
    with log.open("w") as file:
        command = [sys.executable, "-m", "sweeps", "run", str(path), "--out", store.url]
        driver = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
    deadline = time.monotonic() + PATIENCE
    while not store.folder.names("rows", ".parquet"):
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    s3_server.stop()
    time.sleep(AWAY)
    assert driver.poll() is None, log.read_text()
    s3_server.start()
    assert driver.wait(PATIENCE) == 0, log.read_text()

    assert store.failures() == {}
    assert len(computed(store)) == len(set(computed(store))) == 3
    pd.testing.assert_series_equal(values(store), values(whole), rtol=0, atol=1e-6)
    assert store.folder.exists("report.html")
