"""A sweep that was cut short goes on: with the same numbers on its device, within rounding on another one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps.small import computed, remembering, small_config, values
from tests.tiny import save_tiny

pytest.importorskip("ray", reason="sweeps need Ray")


def run(plan: object, out: Path, device: str, checkpoints: int | None = None) -> object:
    """Run what is missing, or of each cell so many checkpoints."""
    from sweeps.run.cell import CellRun
    from sweeps.run.workplace import Workplace
    from sweeps.store.journal import Journal
    from sweeps.store.store import Store

    store = Store(out)
    log = Journal(store.folder)
    with Workplace(plan, store, log, device=device) as place:  # type: ignore[arg-type]
        for cell in plan.cells:  # type: ignore[attr-defined]
            if missing := plan.missing(cell, store.done()):  # type: ignore[attr-defined]
                for _, _ in zip(CellRun(place, cell, missing).checkpoints(), range(checkpoints or 99), strict=False):
                    pass
    log.close()
    return store


@pytest.mark.parametrize("name", ["rome", "memit-history", "alphaedit"])
def test_cut_short_and_continued(name: str, device: str, tmp_path: Path) -> None:
    from sweeps.plan.identity import make_plan

    folder = save_tiny("llama", tmp_path / "model")
    hparams = {"mom2_adjustment": False, "v_num_grad_steps": 3, "context_template_length_params": [[3, 2]]}
    config = small_config(
        folder,
        methods=[{"name": "rome", "hparams": hparams} if name == "rome" else remembering(name, folder)],
        regularizers=["none", {"name": "rect", "k": 40}],
        settings=[
            {"kind": "instance-sequential", "edits": 3, "checkpoints": [1, 3]}
            if name == "rome"
            else {"kind": "batch-sequential", "edits": 3, "batch_sizes": [2], "checkpoints": [1, 3]}
        ],
    )
    plan = make_plan(config)
    whole = run(plan, tmp_path / "whole", device)
    run(plan, tmp_path / "cut", device, checkpoints=1)
    cut = run(plan, tmp_path / "cut", device)
    assert sorted(computed(cut)) == sorted(computed(whole))  # type: ignore[arg-type]
    pd.testing.assert_series_equal(values(cut), values(whole), rtol=1e-6)  # type: ignore[arg-type]

    run(plan, tmp_path / "moved", "cpu", checkpoints=1)
    moved = run(plan, tmp_path / "moved", device)
    assert len(set(computed(moved))) == len(computed(moved))  # type: ignore[arg-type]
    assert not moved.failures()  # type: ignore[attr-defined]
    pd.testing.assert_index_equal(values(moved).index, values(whole).index)  # type: ignore[arg-type]
