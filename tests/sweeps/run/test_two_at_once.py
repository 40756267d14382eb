"""Two run one sweep into one folder at the same time while its parts are put together: no row is lost or doubled."""

from __future__ import annotations

import threading
from pathlib import Path

import pandas as pd

from modelfolder.whole_files import TEMPORARY
from sweeps.plan.identity import make_plan
from sweeps.store.schema import OUTPUT_KEY, ROW_KEY
from sweeps.store.store import Store
from tests.sweeps.small import run_here, small_config, sweep, values
from tests.tiny import save_tiny


def test_two_runs_into_one_folder(tmp_path: Path) -> None:
    config = small_config(save_tiny("llama", tmp_path / "model"), regularizers=["none", {"name": "rect", "k": 20}])
    whole = sweep(config, tmp_path / "whole")
    out = tmp_path / "out"
    together, stop = threading.Barrier(2), threading.Event()
    failed: list[BaseException] = []

    def one() -> None:
        try:
            plan, store = make_plan(config), Store(out)
            together.wait()
            run_here(plan, store)
        except BaseException as error:
            failed.append(error)

    def put_together() -> None:
        store = Store(out)
        while not stop.wait(0.05):
            store._rows.compact(least=2)
            store._outputs.compact(least=2)

    runs = [threading.Thread(target=one) for _ in range(2)]
    compactor = threading.Thread(target=put_together)
    for thread in (*runs, compactor):
        thread.start()
    for thread in runs:
        thread.join()
    stop.set()
    compactor.join()
    assert not failed

    store = Store(out)
    pd.testing.assert_series_equal(values(store), values(whole), rtol=0, atol=1e-6)
    assert not store.rows().duplicated(ROW_KEY).any()
    texts = [found.outputs().sort_values(OUTPUT_KEY)[[*OUTPUT_KEY, "output"]] for found in (store, whole)]
    pd.testing.assert_frame_equal(*(frame.reset_index(drop=True) for frame in texts))
    assert not list(out.rglob(f"{TEMPORARY}*"))
