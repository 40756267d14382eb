"""Tasks put to an engine: generated and weighed side by side, with and without texts, and a file's task in a sweep."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import pytest

import tasks
from sweeps.config.config import EngineSpec, TasksSpec
from sweeps.plan.identity import Exam, exam_of, make_plan
from sweeps.report import gather
from sweeps.store.schema import Row
from sweeps.store.store import Store
from tasks.engines.transformers_engine import TransformersEngine
from tests.sweeps.small import computed, run_here, small_config, sweep
from tests.tiny import save_tiny

LIMITS = EngineSpec(name="transformers", max_model_len=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    with TransformersEngine(folder, max_model_len=256) as engine:
        engine.texts.tokenizer.chat_template = "{{ messages[0]['content'] + ' ANSWER:\n' }}"
        yield engine


def asked(*names: str, **spec: Any) -> list[Exam]:
    wanted = TasksSpec(names=names, examples=4, **spec)
    return [exam_of(wanted, name, "transformers", LIMITS) for name in names]


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row["name"]: row for row in rows}


def test_the_choices_of_a_likelihood_task_are_weighed(engine: TransformersEngine) -> None:
    (one,) = asked("dialogue:likelihood")
    rows, outputs = asking.ask(engine, [one])
    expected = []
    for example, output in zip(one.examples, outputs, strict=True):
        logprobs = asking.logprobs(engine, [(output["prompt"], choice) for choice in (" A", " B", " C", " D")])
        said = json.loads(output["output"])
        assert [choice for choice, _ in said] == [" A", " B", " C", " D"]
        assert [value for _, value in said] == pytest.approx(logprobs, abs=1e-4)
        right = "ABCD"[logprobs.index(max(logprobs))] == example.gold
        expected.append(right)
        assert output["score"] == right
        assert json.loads(output["gold"]) == example.gold
    found = by_name(rows)
    assert set(found) == {
        f"dialogue:likelihood/{m}" for m in ("score", "score_answered", "answered", "truncated", "chance")
    }
    assert found["dialogue:likelihood/score"]["value"] == sum(expected) / 4
    assert found["dialogue:likelihood/score"]["n"] == 4
    assert not math.isnan(found["dialogue:likelihood/score"]["stderr"])


def test_modes_stand_side_by_side_and_apart(engine: TransformersEngine) -> None:
    questions = asked("nli", "nli:likelihood", "reasoning")
    rows, outputs = asking.ask(engine, questions)
    assert len({one.evaluation for one in questions}) == 3
    assert questions[0].examples == questions[1].examples
    for one in questions:
        mine = [row for row in rows if row["evaluation"] == one.evaluation]
        assert mine
        assert all(row["name"].startswith(f"{one.name}/") for row in mine)
        said = [row for row in outputs if row["evaluation"] == one.evaluation]
        assert [row["index"] for row in said] == list(range(4))
    assert "nli/score_release" in by_name(rows)
    assert "nli:likelihood/score_release" not in by_name(rows)


def test_a_long_passage_is_cut_in_both_modes(folder: Path) -> None:
    with TransformersEngine(folder, max_model_len=160) as narrow:
        for name in ("closed_domain_qa", "closed_domain_qa:likelihood"):
            (one,) = asked(name)
            rows, outputs = asking.ask(narrow, [one])
            cut = sum(row["prompt"] != one.task.prompt(e) for row, e in zip(outputs, one.examples, strict=True))
            assert by_name(rows)[f"{name}/truncated"]["value"] == cut > 0
            assert max(map(len, narrow.texts.encode([row["prompt"] for row in outputs]))) < 160
            assert all(row["prompt"].endswith(". answer:") for row in outputs)


def test_without_texts_the_scores_stay(engine: TransformersEngine) -> None:
    questions = asked("nli", "nli:likelihood", "summarization")
    rows, outputs = asking.ask(engine, questions)
    bare_rows, bare = asking.ask(engine, questions, keep_texts=False)
    assert bare_rows == rows
    assert {row[column] for row in bare for column in ("prompt", "output", "gold")} == {None}
    assert [row["score"] for row in bare] == [row["score"] for row in outputs]


def test_a_chat_template_is_a_version_of_its_own(engine: TransformersEngine) -> None:
    plain, chat = asked("nli", "nli:likelihood"), asked("nli", "nli:likelihood", chat_template=True)
    assert [one.name for one in chat] == ["nli:chat", "nli:likelihood:chat"]
    assert not {one.evaluation for one in plain} & {one.evaluation for one in chat}
    assert chat[0].examples == plain[0].examples
    rows, outputs = asking.ask(engine, chat)
    assert all(row["prompt"].endswith(" answer: ANSWER:\n") for row in outputs)
    weighed = next(row for row in outputs if row["task"] == "nli:likelihood:chat")
    assert [choice for choice, _ in json.loads(weighed["output"])] == ["True", "False"]  # they begin a message
    assert "nli:chat/score" in by_name(rows)


def test_a_model_without_a_chat_template_is_named(folder: Path) -> None:
    with (
        TransformersEngine(folder, max_model_len=256) as bare,
        pytest.raises(tasks.InputError, match="no chat template"),
    ):
        asking.ask(bare, asked("nli:chat"))


CAPITALS = """
name: capitals
prompt: "The capital of {country} is"
answer: capital
rule: first-word
max_new_tokens: 3
examples:
  - {country: France, capital: Paris}
  - {country: Peru, capital: Lima}
  - {country: Italy, capital: Rome}
"""


def test_a_task_of_a_file_is_swept_and_added_without_an_edit_computed_again(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "capitals.yaml"
    file.write_text(CAPITALS)
    before = small_config(folder, regularizers=["none"], tasks={"names": ["nli:likelihood"], "examples": 3})
    names = ["nli:likelihood", str(file)]
    grown = small_config(folder, regularizers=["none"], tasks={"names": names, "examples": 3, "keep_texts": False})
    store = sweep(before, tmp_path / "out")
    assert len(computed(store)) == 3
    old = store.outputs()
    assert old["prompt"].notna().all()
    run_here(make_plan(grown), store)
    assert len(computed(store)) == 3
    rows, outputs = store.rows(), store.outputs()
    assert sorted(rows[rows["name"] == "capitals/score"]["n_edits"]) == [0, 1, 3]
    assert (rows["name"] == "nli:likelihood/score").sum() == 3  # not asked again
    assert len(outputs) == len(old) + 9
    assert outputs[outputs["task"] == "capitals"][["prompt", "output", "gold"]].isna().all(axis=None)

    store.folder.write("config.yaml", grown.as_yaml().encode())
    page = gather.report(store.url)
    assert {"capitals_score", "nli:likelihood_score"} <= set(page.table.columns)
    html = (tmp_path / "out" / "report.html").read_text()
    assert "capitals" in html
    assert old["prompt"].iloc[0][:40] not in html  # an earlier run kept it, this configuration does not

    kept = grown.model_copy(update={"tasks": grown.tasks.model_copy(update={"keep_texts": True})})
    store.folder.write("config.yaml", kept.as_yaml().encode())
    gather.report(store.url)
    html = (tmp_path / "out" / "report.html").read_text()
    assert json.dumps(old["prompt"].iloc[0][:40])[1:-1] in html


def test_where_examples_come_from_is_kept(folder: Path, tmp_path: Path) -> None:
    (one,) = asked("nli")
    Store(tmp_path).put_evaluation(one.evaluation, {"task": one.name, **one.described})
    record = json.loads((tmp_path / "evaluations" / f"{one.evaluation}.json").read_text())
    assert record["version"] == "1"
    assert record["examples"] == 4
    assert record["source"] == "bundled"
    assert len(record["sha256"]) == 64
