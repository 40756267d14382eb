"""One report of several sweeps: each figure is that of the sweep by itself, and nothing of one meets another's."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from modelfolder.errors import InputError
from sweeps.commands import app
from sweeps.report import answers, gather, webpage
from sweeps.report.together import together
from sweeps.report.webpage import Material
from sweeps.results import agreement, curves, retention, tradeoff
from tests.sweeps.report import test_answers_told as told
from tests.sweeps.report.test_gather import commit, finish, made, sweep
from tests.sweeps.synthetic_rows import sweep as synthetic

OUTPUTS = told.OUTPUTS[:3]


def synthetic_sweep(seed: int, evaluation: str, **of: object) -> Material:
    """As a folder has it: evaluations of tasks and metrics are other ones where edit sets or examples are."""
    rows = synthetic(seed=seed, **of).assign(evaluation=evaluation)  # type: ignore[arg-type]
    return Material(name="x", rows=rows, outputs=told.OUTPUTS[:0], table=tradeoff.tradeoff(rows), planned=3)


def without(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The lines of a sweep in a table of several, called as in a table of its own."""
    mine = frame[frame["model"].str.endswith(f" on {name}")].copy()
    mine["model"] = mine["model"].str.removesuffix(f" on {name}")
    if "cell" in mine:
        mine["cell"] = mine["cell"].str.removeprefix(f"{name}/")
    return mine.reset_index(drop=True)


def test_every_figure_is_that_of_its_sweep() -> None:
    """Same cells, other numbers, tasks and ids of evaluations: as two edit sets on one model have them."""
    parts = {"a": synthetic_sweep(1, "one", tasks=("nli",)), "b": synthetic_sweep(2, "two", tasks=("ner", "nli"))}
    both = together("both", parts)
    assert both.planned == 6
    for name, one in parts.items():
        for made_of in (lambda m: m.tradeoff, lambda m: m.kept, lambda m: curves.curves(m.rows)):
            wanted = made_of(one).reset_index(drop=True)
            found = without(made_of(both), name)[wanted.columns]
            pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
        assert {cell.removeprefix(f"{name}/") for cell in both.sides if cell.startswith(f"{name}/")} == set(one.sides)
        pd.testing.assert_frame_equal(
            without(agreement.agreement(both.table), name),
            agreement.agreement(one.table).reset_index(drop=True),
            check_dtype=False,
        )
    assert len(both.table) == sum(len(one.table) for one in parts.values())
    assert isinstance(retention.kept(both.table, both.sides), pd.DataFrame)


def test_a_task_that_one_sweep_lacks_costs_the_other_nothing() -> None:
    parts = {"a": synthetic_sweep(1, "one", tasks=("nli",)), "b": synthetic_sweep(1, "two", tasks=("ner", "nli"))}
    table = together("both", parts).table
    assert table["task_score"].notna().all()
    assert not table["notes"].str.contains("ner was not scored").any()


def test_answers_of_two_edit_sets_stand_apart() -> None:
    """The same cell id, task and index in both folders, and another prompt."""
    one = replace(told.material(), outputs=OUTPUTS)
    other = OUTPUTS.assign(prompt=[f"{prompt} now" for prompt in OUTPUTS["prompt"]], evaluation="other")
    rows = told.rows()
    rows.loc[rows["evaluation"] == "generation", "evaluation"] = "other"
    parts = {"a": one, "b": replace(one, rows=rows, outputs=other)}
    both = together("both", parts)
    sections = answers.beside(both.rows, both.table)
    assert [section["title"].partition(",")[0] for section in sections] == ["m on a", "m on b"]
    assert [section["lines"] for section in sections] == [answers.beside(told.rows(), parts["a"].table)[0]["lines"]] * 2
    examples = webpage.page_data(both)["examples"]
    prompts = [prompt for prompt, _ in examples["prompts"]["metric generation"].values()]
    assert sorted(prompts) == sorted([*OUTPUTS["prompt"].unique(), *other["prompt"].unique()])
    shown = examples["outputs"]["b/c"]["metric generation"]
    asked = {examples["prompts"]["metric generation"][index][0] for index in shown}
    assert asked == {"Anna lives in now", "The sun is now"}
    assert "<h1>both</h1>" in webpage.render(both)


def test_outputs_of_an_evaluation_that_is_not_shown_are_left_out() -> None:
    stale = told.OUTPUTS.assign(evaluation="an earlier one")
    both = together("both", {"a": told.material(), "b": replace(told.material(), outputs=stale)})
    assert set(both.outputs["cell"]) == {"a/c", "a/d"}


def test_facts_are_named_by_their_sweep() -> None:
    """The page looks for "SEED MODEL" first; a model that skips some has a list of its own."""
    rows = told.rows()
    rows = pd.concat([rows, rows.assign(model="n", cell="n" + rows["cell"])])
    one = replace(told.material(), rows=rows, facts={"0": ["A", "B"], "0 n": ["B"]})
    found = together("both", {"a": one, "b": replace(one, facts={"0": ["C"]})}).facts
    assert found == {"0 m on a": ["A", "B"], "0 n on a": ["B"], "0 m on b": ["C"], "0 n on b": ["C"]}


def test_two_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, part = made(), made({"tasks": {"names": ["nli"], "examples": 2}})
    finish(whole, sweep(str(tmp_path / "one"), whole))
    store = sweep(str(tmp_path / "two"), part)
    commit(part, store, part.cells[0], 0)
    store.fail(part.cells[1].id, "OutOfMemoryError: 3 GiB", str(part.cells[1]))
    with pytest.raises(SystemExit) as left:
        app.main(["report", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "both")])
    assert not left.value.code
    printed = " ".join(capsys.readouterr().out.split())
    assert f"failed two: {part.cells[1]}: OutOfMemoryError: 3 GiB" in printed
    table = pd.read_csv(tmp_path / "both" / "tradeoff.csv")
    assert list(table["cell"]) == [*(f"one/{cell.id}" for cell in whole.cells), f"two/{part.cells[0].id}"]
    assert set(table["model"]) == {"smollm2-135m on one", "smollm2-135m on two"}
    alone = gather.report(tmp_path / "one", Console(file=io.StringIO())).tradeoff
    assert list(table["edit_retention"][:4].fillna(-1)) == list(alone["edit_retention"].fillna(-1))
    assert math.isnan(table["ner_score"][4])
    page = (tmp_path / "both" / "report.html").read_text()
    assert "<h1>both</h1>" in page
    assert "5 of 8" in page
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["report.html", "tradeoff.csv"]
    first = whole.edited(whole.cells[1], 1)[0]
    assert json.dumps(f"{first.filled}: {first.target}") in page


@pytest.mark.parametrize(
    ("folders", "wrong"),
    [
        (["a/x", "b/x"], "two of the folders are called 'x', as their sweeps would be: rename one"),
        (["a/x", "a/x/"], "two of the folders are called 'x', as their sweeps would be: rename one"),
        (["a/x", "nothing"], "nothing: there is no sweep in this folder (no config.yaml, no rows)"),
    ],
)
def test_folders_that_make_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: list[str], wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for one in ("a/x", "b/x"):
        sweep(one, made())
    with pytest.raises(InputError) as refused:
        gather.report_together(folders, "out")
    assert str(refused.value) == wrong
    assert not Path("out").exists()


def test_where_the_report_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for one in ("x", "y"):
        sweep(one, made())
    for arguments, wrong in (
        (["x", "y"], "a report of 2 sweeps needs a folder of its own: --out DIR"),
        (["x", "y", "--out", "x"], "--out x: is a sweep's folder; name one of its own for several sweeps' report"),
    ):
        with pytest.raises(SystemExit) as left:
            app.main(["report", *arguments])
        assert left.value.code == 2
        assert capsys.readouterr().err == f"error: {wrong}\n"
    assert not Path("x/report.html").exists()
