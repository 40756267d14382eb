"""Last a cell of figure 8 by the command line: Ray, the edit, the engine and the report on one device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.model, pytest.mark.vllm]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", ["smollm2-135m", "openai-community/gpt2-xl"])
def test_a_cell_of_figure_8(model: str, cuda: str, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    pytest.importorskip("ray")
    from rect import models

    if model not in models.known() and models.here(model) is None:
        pytest.skip(f"{model} is not in the cache")
    shape = "[{kind: instance-sequential, edits: 2, checkpoints: [2]}]"
    command = [sys.executable, "-m", "sweeps", "run", "configs/paper/figure-08.yaml", "--out", str(tmp_path),
               "--limit-cells", "3", "--set", f"models=[{model}]", "--set", f"settings={shape}",
               "--set", "engine.name=vllm", "--set", "tasks.examples=4", "--set", "resources.gpus=1"]  # fmt: skip
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.concat([pd.read_parquet(file) for file in tmp_path.glob("rows/**/*.parquet")])
    assert set(table["regularizer"]) >= {"none", "rect"}
    reliability = table[table["name"].str.startswith("reliability") & (table["regularizer"] == "none")]["value"]
    assert reliability.min() > 0.5
