"""A task that fails costs its own rows: the others are scored, what was measured is kept, a later run tries again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import pytest

import tasks
from sweeps.commands import app
from sweeps.config.config import EngineSpec, TasksSpec
from sweeps.plan.identity import EDIT, Exam, Plan, evaluation_of, exam_of, make_plan
from sweeps.run import scoring
from sweeps.run.cell import CellRun
from sweeps.run.job import Job
from sweeps.run.trial import EditingTrial
from sweeps.run.workplace import Workplace
from sweeps.store.journal import Journal
from sweeps.store.schema import ROW_KEY
from sweeps.store.store import Store
from tasks.engines.base import EngineError
from tasks.engines.transformers_engine import TransformersEngine
from tests.sweeps import odd_task
from tests.sweeps.small import computed, small_config

LIMITS = EngineSpec(name="transformers", max_model_len=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_task.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_task.save_task(tmp_path_factory.mktemp("task"))


@pytest.fixture
def engine(folder: Path) -> Iterator[TransformersEngine]:
    with TransformersEngine(folder, max_model_len=256) as engine:
        yield engine


def asked(*names: str) -> list[Exam]:
    wanted = TasksSpec(names=names, examples=2)
    return [exam_of(wanted, name, "transformers", LIMITS) for name in names]


def test_an_engine_that_fails_on_one_task_answers_the_others(engine: TransformersEngine, odd: Path) -> None:
    found = [
        one for some in scoring.answers(engine, asked("nli", str(odd), "sentiment", "nli:likelihood")) for one in some
    ]
    assert [one.one.name for one in found] == ["nli", "odd", "sentiment", "nli:likelihood"]
    lost = found.pop(1)
    assert str(lost.failed).startswith("odd, example 0: 'zyzzyva France is': the tokenizer's token 384 ('zyzzyva')")
    assert lost.rows == lost.outputs == []
    rows, outputs = asking.ask(engine, asked("nli", "sentiment", "nli:likelihood"))
    assert repr([row for one in found for row in one.rows]) == repr(rows)
    assert [row for one in found for row in one.outputs] == outputs


class Picky(TransformersEngine):
    """Fails on prompts with a word that none of its checks knows."""

    def _generate(self, prompts: list[list[int]], budgets: list[int]) -> list[list[int]]:
        if any("entails" in self.texts.tokenizer.decode(ids) for ids in prompts):
            raise EngineError("refused, says the test")
        return super()._generate(prompts, budgets)


def test_an_engine_that_refuses_one_task_is_asked_for_each_alone(folder: Path) -> None:
    with Picky(folder, max_model_len=256) as picky:
        (found,) = scoring.answers(picky, asked("sentiment", "nli", "summarization"))
        expected = asking.ask(picky, asked("sentiment", "summarization"))
    assert [type(one.failed) for one in found] == [type(None), EngineError, type(None)]
    assert repr((found[0].rows + found[2].rows, found[0].outputs + found[2].outputs)) == repr(expected)


def test_a_task_that_cannot_score_an_answer_fails_alone(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = asking.ask(engine, asked("sentiment"))
    monkeypatch.setattr(type(tasks.get("nli")), "judge", lambda *_: 1 / 0)
    (some,) = scoring.answers(engine, asked("nli", "sentiment"))
    assert isinstance(some[0].failed, ZeroDivisionError)
    assert repr((some[1].rows, some[1].outputs)) == repr(expected)


def test_a_dead_engine_is_no_task_that_fails(engine: TransformersEngine) -> None:
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        list(scoring.answers(engine, asked("nli")))


def trial(plan: Plan, store: Store, cell: Any) -> dict[str, Any]:
    """Run a cell with a trial's methods. Returns its last result."""
    one = EditingTrial.__new__(EditingTrial)  # Tune's own part needs Tune
    one.job, one.store, one.journal = Job(plan, store.url, "", {}, "", None), store, Journal(store.folder)
    result: dict[str, Any] = {"done": False}
    with Workplace(plan, store, one.journal) as one.place:
        one._begin({"cell": {"id": cell.id}})
        while not result["done"]:
            result = one.step()
    return result


def test_a_cell_keeps_all_else_and_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(folder, regularizers=["none"], tasks={"names": ["nli", "sentiment"], "examples": 2})
    plan, store = make_plan(config), Store(tmp_path)
    cell, (nli, sentiment) = plan.cells[1], plan.questions
    with monkeypatch.context() as broken:
        broken.setattr(type(nli.task), "judge", lambda *_: 1 / 0)
        result = trial(plan, store, cell)
    assert result["failed"].startswith(
        "tasks failed, all else is kept: nli at 1 edits (ZeroDivisionError: division by zero); nli at 3 edits"
    )
    assert store.failures() == {cell.id: result["failed"]}
    assert store.left_alone() == set()
    assert plan.missing(cell, store.done()) == {1: {nli.evaluation}, 3: {nli.evaluation}}

    before = store.rows()
    assert "failed" not in trial(plan, store, cell)
    assert store.failures() == plan.missing(cell, store.done()) == {}
    rows = store.rows()
    assert not rows.duplicated(ROW_KEY).any()
    assert len(computed(store)) == 3
    new = rows[(rows["kind"] != "time") & ~rows["evaluation"].isin(set(before["evaluation"]))]
    assert set(new["evaluation"]) == {nli.evaluation}
    assert len(rows[rows["kind"] != "time"]) == len(before[before["kind"] != "time"]) + len(new)
    assert set(store.outputs()["evaluation"]) == {nli.evaluation, sentiment.evaluation}


def test_what_was_measured_survives_an_engine_that_dies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does the row that ends the cell: its figure was read before the engine was asked."""
    stop = [{"figure": "drift", "at_least": 0.0}]
    config = small_config(folder, regularizers=["none"], stop=stop, tasks={"names": ["nli"], "examples": 2})
    plan, store = make_plan(config), Store(tmp_path)
    cell, (nli,) = plan.cells[1], plan.questions

    def dies(self: TransformersEngine, *_: Any) -> None:
        self.close()
        self._running()

    with monkeypatch.context() as broken, Workplace(plan, store, Journal(store.folder)) as place:
        broken.setattr(TransformersEngine, "_generate", dies)
        with pytest.raises(EngineError, match="closed"):
            list(CellRun(place, cell, plan.missing(cell, set())).checkpoints())
    assert (cell.id, 1, evaluation_of(EDIT, "float32")) in store.done()
    assert plan.missing(cell, store.done()) == {1: {nli.evaluation}}
    result = trial(plan, store, cell)
    assert result["stopped"] == "drift >= 0"
    assert not plan.missing(cell, store.done())
    assert set(store.rows()["n_edits"]) == {1}
    assert not store.rows().duplicated(ROW_KEY).any()


def test_a_score_is_kept_whatever_became_of_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sweeps evaluate` keeps what the other tasks gave."""
    out = tmp_path / "out"
    words = ["evaluate", str(folder), "--engine", "transformers", "--max-model-len", "256", "--examples", "2"]
    monkeypatch.setattr(type(tasks.get("sentiment")), "judge", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # an internal failure keeps its traceback
        app.main([*words, "--tasks", "nli,sentiment", "--out", str(out)])
    assert "sentiment failed: division by zero" in capsys.readouterr().out
    assert {name.partition("/")[0] for name in Store(out).rows().query("kind == 'task'")["name"]} == {"nli"}
