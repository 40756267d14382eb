"""configs/two-models.yaml: each model with its own unedited cell, and all of a model's cells together."""

from __future__ import annotations

from pathlib import Path

from rect.known_models import known
from sweeps.config import config
from sweeps.plan import grid
from sweeps.plan.identity import make_plan

FILE = Path(__file__).resolve().parents[3] / "configs" / "two-models.yaml"
EACH = [
    ("unedited", "none", None),
    ("instance-sequential", "none", None),
    ("instance-sequential", "rect", 20.0),
    ("instance-sequential", "rect", 40.0),
]


def test_each_model_has_the_same_cells_and_its_own_unedited_one() -> None:
    assert FILE.read_text().startswith("# sweeps run configs/two-models.yaml\n")
    cells, dropped = grid.expand(config.load(FILE))
    assert not dropped
    names = [cell.model.name for cell in cells]
    assert names == sorted(names, key=list(known()).index), "a worker keeps its model"
    for name in known():
        assert [(cell.setting, cell.regularizer, cell.k) for cell in cells if cell.model.name == name] == EACH


def test_no_two_share_an_id() -> None:
    plan = make_plan(config.load(FILE))
    assert len({cell.id for cell in plan.cells}) == len(plan.cells) == 2 * len(EACH)
