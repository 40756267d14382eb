"""Two drivers on one output folder at the same time: no row is lost, none is there twice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from modelfolder.whole_files import TEMPORARY
from sweeps.store import journal
from sweeps.store.schema import ROW_KEY
from sweeps.store.store import Store
from tests.integration.test_resume import Driver
from tests.sweeps.small import quiet, small_config, values
from tests.tiny import save_tiny

pytestmark = pytest.mark.slow


def test_two_drivers_at_once(tmp_path: Path) -> None:
    config = small_config(
        save_tiny("llama", tmp_path / "model"),
        regularizers=["none", {"name": "rect", "k": [20]}],
        resources={"cpus": 1, "concurrency": 1},
    )
    path = tmp_path / "small.yaml"
    path.write_text(config.as_yaml())
    whole = quiet(config, tmp_path / "whole")

    out = tmp_path / "out"
    drivers = [Driver(path, out) for _ in range(2)]
    for driver in drivers:
        driver.finish()

    store = Store(out)
    events = journal.events(store.folder)
    began = [event for event in events if event["event"] == "run-started"]
    ended = [event for event in events if event["event"] == "run-ended"]
    assert len(began) == len(ended) == 2
    assert max(event["time"] for event in began) < min(event["time"] for event in ended), "they ran one after the other"
    pd.testing.assert_series_equal(values(store), values(whole), rtol=0, atol=1e-6)
    assert not store.rows().duplicated(ROW_KEY).any()
    key = ["cell", "n_edits", "task", "index"]
    texts = [one.outputs().sort_values(key)[[*key, "output"]].reset_index(drop=True) for one in (store, whole)]
    pd.testing.assert_frame_equal(*texts)
    assert len(pd.read_csv(out / "tradeoff.csv")) == 3
    assert not list(out.rglob(f"{TEMPORARY}*"))
