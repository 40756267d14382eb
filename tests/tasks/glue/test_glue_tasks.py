"""The GLUE six: prompts as released, balanced draws, both rules on hand-made outputs, F1 against scikit-learn."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

import tasks
from modelfolder.errors import InputError
from sweeps.config.config import TasksSpec
from tasks.glue.weighted import weighted_f1
from tasks.records import Example

PAIR = {"sentence1": "A dog runs.", "sentence2": "It moves."}
RECORDS: dict[str, list[dict[str, Any]]] = {
    "glue_sst": [{"sentence": "a warm film", "label": 1}, {"sentence": "thin {plot}", "label": 0}],
    "glue_mrpc": [{**PAIR, "label": 1}, {"#1 String": "A", "#2 String": "B", "Quality": "0"}],
    "glue_cola": [{"sentence": "Dogs bark.", "label": "acceptable"}, {"sentence": "Dogs barks.", "label": 0}],
    "glue_rte": [{**PAIR, "label": 0}, {**PAIR, "label": "not_entailment"}],
    "glue_nli": [{**PAIR, "label": "entailment"}, {**PAIR, "label": 1}],
    "glue_mmlu": [
        {"question": "2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1},
        *({"question": "x", "choices": list("abcd"), "answer": letter} for letter in "ACD"),
    ],
}
PROMPTS = {
    "glue_sst": "Review :a warm film\nSentiment :",
    "glue_mrpc": (
        "Are the sentences paraphrases of each other.\nSentence 1: A dog runs.\nSentence 2: It moves.\nAnswer:"
    ),
    "glue_cola": "Is this sentence linguistically acceptable?\nSentence: Dogs bark.\nAnswer: ",
    "glue_rte": "A dog runs.\nquestion: It moves. True or False?\nanswer:",
    "glue_nli": "A dog runs. entails the It moves. True or False? Answer:",
    "glue_mmlu": "Question: 2 + 2?\n(A) 3\n(B) 4\n(C) 5\n(D) 6\nAnswer:",
}
GOLDS = {"glue_sst": "positive", "glue_mrpc": "yes", "glue_cola": "yes", "glue_rte": "true", "glue_nli": "true"}
GOLDS |= {"glue_mmlu": "B"}


def write(folder: Path, name: str, records: list[dict[str, Any]]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    return folder


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_and_golds(name: str, tmp_path: Path) -> None:
    task = tasks.get(name)
    examples = task.examples(write(tmp_path, name, RECORDS[name]))
    assert task.prompt(examples[0]) == PROMPTS[name]
    assert examples[0].gold == GOLDS[name]
    assert len({example.gold for example in examples}) == len(examples) == len(task.choices(examples[0]))
    assert task.max_new_tokens == 5
    gold = [task.gold_output(example) for example in examples]
    scores = task.score(gold, examples)
    assert (scores["score"].value, scores["f1"].value, scores["answered"].value) == (1, 1, 1)
    assert task.chance(examples) == pytest.approx(1 / len(task.choices(examples[0])))


@pytest.mark.parametrize(
    ("name", "output", "answer", "released"),
    [
        ("glue_sst", " positive", "positive", "positive"),
        ("glue_sst", " Negative, not positive", "negative", "positive"),  # the release looks for positive first
        ("glue_sst", " positively bad\nSentiment : negative", "negative", "negative"),
        ("glue_sst", "", None, None),
        ("glue_mrpc", " Yes.", "yes", "yes"),
        ("glue_mrpc", " I know it", None, "no"),  # "know" has a no in it
        ("glue_mrpc", " No, yes", "no", "yes"),
        ("glue_cola", "NO", "no", "no"),
        ("glue_cola", "eyes", None, "yes"),
        ("glue_rte", " True or False", "true", "false"),
        ("glue_rte", " untrue", None, "true"),
        ("glue_nli", " False. True", "false", "true"),
        ("glue_mmlu", " B\n", "B", "B"),
        ("glue_mmlu", " (C)", "C", None),
        ("glue_mmlu", " Alpha\nD", "D", "A"),
        ("glue_mmlu", " b", None, None),
    ],
)
def test_what_an_output_says(name: str, output: str, answer: str | None, released: str | None) -> None:
    task: Any = tasks.get(name)
    assert (task.answer(output), task.released(output)) == (answer, released)
    judged = task.judge(output, Example("0", {}, answer or next(iter(task.answers))))
    assert (judged.score, judged.answered) == (float(answer is not None), answer is not None)


def test_the_release_turns_rte_around(tmp_path: Path) -> None:
    task = tasks.get("glue_rte")
    examples = task.examples(write(tmp_path, "glue_rte", RECORDS["glue_rte"]))
    right = task.score([" True", " False"], examples)
    assert (right["score"].value, right["f1"].value, right["score_release"].value) == (1, 1, 0)
    assert task.score([" False", " True"], examples)["score_release"].value == 1


ANSWERS = st.sampled_from(["a", "b", "c", None])


@given(st.lists(st.tuples(st.sampled_from("abc"), ANSWERS), min_size=1, max_size=30))
def test_weighted_f1_is_that_of_scikit_learn(pairs: list[tuple[str, str | None]]) -> None:
    golds, answers = [gold for gold, _ in pairs], [answer for _, answer in pairs]
    expected = f1_score(golds, [answer or "none" for answer in answers], average="weighted", zero_division=0)
    found = weighted_f1(golds, answers)
    assert found.value == pytest.approx(expected)
    assert found.n == len(pairs)


def test_its_standard_error_is_about_the_bootstraps() -> None:
    draw = random.Random(0)
    golds = ["a", "b"] * 100
    answers = [gold if draw.random() < 0.7 else draw.choice(["a", None]) for gold in golds]
    found = weighted_f1(golds, answers)
    values = []
    for _ in range(2000):
        picks = [draw.randrange(200) for _ in range(200)]
        values.append(weighted_f1([golds[i] for i in picks], [answers[i] for i in picks]).value)
    mean = sum(values) / len(values)
    bootstrap = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    assert found.stderr == pytest.approx(bootstrap, rel=0.15)


def many(n: int) -> list[dict[str, Any]]:
    return [{"sentence": f"film {i}", "label": int(i % 4 == 0)} for i in range(n)]


def test_examples_are_balanced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = tasks.get("glue_sst")
    folder = write(tmp_path, "glue_sst", many(400))
    assert Counter(one.gold for one in task.examples(folder)) == {"positive": 50, "negative": 50}
    drawn = {limit: [one.id for one in task.examples(folder, limit, seed=3)] for limit in (5, 6, 40)}
    assert set(drawn[5]) < set(drawn[6]) < set(drawn[40])
    assert Counter(one.gold for one in task.examples(folder, 5)) == {"positive": 3, "negative": 2}
    assert [int(one) for one in drawn[40]] == sorted(map(int, drawn[40]))
    assert {one.id for one in task.examples(folder, 6, seed=4)} != set(drawn[6])
    assert [one.id for one in task.likelihood().examples(folder, 6, seed=3)] == drawn[6]  # modes share their examples
    assert caplog.text == ""
    few = task.examples(write(tmp_path, "glue_sst", many(40)))
    assert Counter(one.gold for one in few) == {"positive": 10, "negative": 10}
    assert "100 balanced examples asked for, the source has 20" in caplog.text


def test_in_likelihood_mode_f1_is_of_the_likelier_answer(tmp_path: Path) -> None:
    task = tasks.get("glue_mmlu:likelihood")
    examples = task.examples(write(tmp_path, "glue_mmlu", RECORDS["glue_mmlu"]))
    golds = [example.gold for example in examples]
    assert golds == ["B", "A", "C", "D"]
    scores = task.score_choices([[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 2, 1], [0, 0, 0, math.nan]], examples)
    assert scores["f1"].value == pytest.approx(f1_score(golds, ["B", "D", "C", "-"], average="weighted"))
    assert scores["score"].value == 0.5


@pytest.mark.parametrize(
    ("source", "limit", "said"),
    [
        ("bundled", None, "task 'glue_sst' has no bundled data; give a directory with its files, or hub"),
        ("folder", 0, "examples must be at least 1 (or none given, for 100), not 0"),
        ("none", None, "none: no such directory or file"),
    ],
)
def test_what_cannot_be_drawn(source: str, limit: int | None, said: str, tmp_path: Path) -> None:
    write(tmp_path, "glue_sst", RECORDS["glue_sst"])
    with pytest.raises(InputError) as caught:
        tasks.get("glue_sst").examples({"folder": tmp_path}.get(source, source), limit)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "record", "said"),
    [
        ("glue_sst", {"sentence": "x", "label": -1}, "field 'label' must be one of 1, 0"),  # GLUE's hidden labels
        ("glue_mmlu", {"question": "x", "choices": ["a"], "answer": 0}, "field 'choices' must be a list of 4 texts"),
        ("glue_mrpc", {"sentence1": "x", "label": 1}, "field 'sentence2' is missing"),
        ("glue_rte", {**PAIR, "label": True}, "field 'label' must be one of entailment"),
    ],
)
def test_a_bad_record_is_named(name: str, record: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        tasks.get(name).examples(write(tmp_path, name, [*RECORDS[name], record]))
    assert said in str(caught.value)
    assert f"line {len(RECORDS[name]) + 1}" in str(caught.value)


def test_glue_is_a_set_beside_the_eight() -> None:
    assert TasksSpec(names="glue").names == tuple(tasks.GLUE)
    assert set(tasks.GLUE) == set(PROMPTS)
    assert not set(tasks.GLUE) & set(tasks.NAMES)
    assert TasksSpec(names="all").names == tasks.NAMES
    assert TasksSpec(names=["nli", "glue"]).names == ("nli", *tasks.GLUE)


def test_samples_of_the_data_sets(shared_data: Path) -> None:
    for name, file in (("glue_sst", "sst2.jsonl"), ("glue_rte", "rte.jsonl")):
        examples = tasks.get(name).examples(shared_data)
        assert Counter(Counter(one.gold for one in examples).values()) == {50: 2}
        assert examples.provenance["file"].endswith(file)
