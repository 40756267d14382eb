"""What commands read of a folder in which cells of several configurations lie."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from modelfolder.errors import InputError
from sweeps.config import config
from sweeps.figures import draw, panels
from sweeps.plan import asked
from sweeps.plan.identity import Plan, make_plan
from sweeps.report import between, export, gather
from sweeps.results import tradeoff
from sweeps.store.store import Store
from tests.sweeps.report.test_gather import DATA, commit, finish, made, sweep
from tests.sweeps.synthetic_rows import row, unedited

STEPS = {"v_num_grad_steps": 3}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan, Plan]:
    """A folder with the cells of two configurations that look the same: ROME with other hyperparameters."""
    folder = tmp_path_factory.mktemp("two")
    before, now = made({"methods": [{"name": "rome", "hparams": STEPS}]}), made()
    finish(before, sweep(str(folder), before))
    finish(now, sweep(str(folder), now))
    rows = Store(folder).rows()
    assert rows["cell"].nunique() == 7  # the unedited one is the same
    assert len(rows.drop_duplicates(list(tradeoff.IDS))) == 4
    return folder, before, now


def test_rows_are_those_of_the_present_configuration(two: tuple[Path, Plan, Plan]) -> None:
    folder, _, now = two
    found = asked.read(folder)
    assert set(found.rows["cell"]) == {cell.id for cell in now.cells}
    assert set(found.outputs.frame()["cell"]) == {cell.id for cell in now.cells}
    assert found.left_out == 3


def test_every_command_reads_the_same_rows(
    two: tuple[Path, Plan, Plan], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _, now = two
    wanted = {cell.id for cell in now.cells}
    console = Console(record=True, width=200, file=io.StringIO())
    assert set(gather.report(folder, console).table["cell"]) == wanted
    assert set(pd.read_csv(export.export(folder, "rows"))["cell"]) == wanted
    assert set(between.Sweep.read(folder).rows["cell"]) == wanted
    between.run(str(folder), str(folder), None, 0.05, console)
    assert console.export_text().count("3 cells of another configuration or an earlier version left out") == 3
    caplog.set_level(logging.WARNING)
    (drawn,) = draw.draw("figure-07", folder)
    assert drawn.files
    assert "3 cells of another configuration" in caplog.text


def test_of_everything_cells_that_look_the_same_are_kept_apart(two: tuple[Path, Plan, Plan]) -> None:
    folder, before, now = two
    rows = asked.read(folder, everything=True).rows
    assert rows.groupby(list(tradeoff.IDS), dropna=False)["cell"].nunique().max() == 1
    methods = rows[rows["setting"] != tradeoff.UNEDITED].drop_duplicates("cell").set_index("cell")["method"]
    assert methods.to_dict() == {
        cell.id: f"rome ({cell.id[: asked.SHORT]})" for plan in (before, now) for cell in plan.cells if cell.method
    }
    assert rows.loc[rows["setting"] == tradeoff.UNEDITED, "model"].unique() == ["smollm2-135m"]
    with pytest.raises(InputError, match=r"rome \(\w{6}\) and .* are both shown as rome in the paper's figures"):
        draw.draw("figure-07", folder, everything=True)


def test_two_unedited_models_of_one_name_are_no_baseline() -> None:
    lines = [row(f"base-{i}", 0, "task", "ner/score", 0.4 + i / 10, **unedited()) for i in range(2)]
    rows = asked.apart(pd.DataFrame([*lines, row("edited", 2, "task", "ner/score", 0.2)]))
    table = tradeoff.tradeoff(rows).set_index("cell")
    assert pd.isna(table.loc["edited", "task_retention"])
    assert "the unedited model has no score" in table.loc["edited", "notes"]
    assert sorted(table["model"]) == ["m", "m (base-0)", "m (base-1)"]


def test_cells_are_called_as_the_configuration_calls_them_now(tmp_path: Path) -> None:
    plan = made()
    finish(plan, sweep(str(tmp_path), plan))
    renamed = made({
        "models": [{"name": "smollm2-135m", "label": "small"}],
        "methods": [{"name": "rome", "label": "ROME, as is"}],
    })  # fmt: skip
    assert [cell.id for cell in renamed.cells] == [cell.id for cell in plan.cells]
    sweep(str(tmp_path), renamed)
    rows = asked.read(tmp_path).rows
    assert set(rows["model"]) == {"small"}
    assert set(rows["method"]) == {"none", "ROME, as is"}
    assert rows["k"].isna().sum() == Store(tmp_path).rows()["k"].isna().sum()
    assert list(rows.dtypes) == list(Store(tmp_path).rows().dtypes)


def test_where_nothing_is_asked_for_it_is_said(tmp_path: Path) -> None:
    before, now = made(), made({"models": [{"name": "smollm2-135m", "dtype": "bfloat16"}]})
    store = sweep(str(tmp_path), before)
    commit(before, store, before.cells[0], 0)
    sweep(str(tmp_path), now)
    with pytest.raises(InputError, match="no rows in this folder that its configuration asks for: 1 cell of another"):
        asked.read(tmp_path).needed()
    assert len(asked.read(tmp_path, everything=True).needed().rows) == len(store.rows())


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (
            ["smollm2-135m", {"name": "smollm2-135m", "dtype": "bfloat16"}],
            "two models are called 'smollm2-135m': give each its own label",
        ),
        (["smollm2-135m", {"name": "./other", "label": "smollm2-135m"}], "two models are called 'smollm2-135m'"),
        (["smollm2-135m", {"name": "smollm2-135m", "label": "again"}], "'smollm2-135m' is there twice"),
    ],
)
def test_models_that_would_look_the_same_are_refused(models: list[Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        config.validate(DATA | {"models": models}, "sweep.yaml")


def test_one_model_in_two_dtypes_is_two_models() -> None:
    half = {"name": "smollm2-135m", "dtype": "bfloat16", "label": "smollm2 in bf16"}
    only = {"kind": "instance-sequential", "edits": 2, "models": ["smollm2 in bf16"]}
    every = {"kind": "instance-sequential", "edits": 1}
    plan = make_plan(config.validate(DATA | {"models": ["smollm2-135m", half], "settings": [every, only]}, "s"))
    ends = {(cell.axes()["model"], cell.checkpoints[-1]) for cell in plan.cells}
    assert ends == {("smollm2-135m", 0), ("smollm2-135m", 1), ("smollm2 in bf16", 0), ("smollm2 in bf16", 2)}
    assert str(plan.cells[-1]).startswith("smollm2 in bf16 rome")


def test_two_models_that_a_figure_calls_the_same_are_refused() -> None:
    names = ("openai-community/gpt2-xl", "GPT-2 XL")
    rows = pd.DataFrame([row(name, 2, "task", "ner/score", 0.2, model=name) for name in names])
    with pytest.raises(InputError, match="GPT-2 XL and openai-community/gpt2-xl are both shown as GPT-2 XL"):
        panels.points_of(rows)
    labelled = pd.DataFrame(
        [row(m, 2, "task", "ner/score", 0.2, model=m, method=f"mend ({m})") for m in ("gpt2-xl", "llama")]
    )
    assert set(panels.points_of(labelled)["method"]) == {"mend"}  # one each: nothing is merged


def test_texts_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    plan = made({"tasks": {"names": ["nli"], "examples": 2, "keep_texts": False}})
    finish(plan, sweep(str(tmp_path), plan))
    assert len(Store(tmp_path).outputs())
    outputs = asked.read(tmp_path).outputs.frame()
    assert outputs[["prompt", "output", "gold"]].isna().all(axis=None)
    assert outputs["score"].notna().all()
