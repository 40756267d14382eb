"""Likelihood mode: the choice with the highest log-probability."""

from __future__ import annotations

import math

import pytest
import task_records

import tasks
from modelfolder.errors import InputError

CHOICES = {
    "nli": [" True", " False"],
    "closed_domain_qa": [" yes", " no"],
    "dialogue": [" A", " B", " C", " D"],
    "sentiment": [" positive", " negative"],
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_gold_choice_is_right_and_any_other_wrong(name: str) -> None:
    task = tasks.get(f"{name}:likelihood")
    for example in task_records.examples(name):
        choices = task.choices(example)
        assert choices == CHOICES[name]
        gold = task.gold_choice(example)
        assert task.judge(choices[gold], example).score == 1
        for best in range(len(choices)):
            logprobs = [-1.0 if i == best else -2.0 for i in range(len(choices))]
            assert task.judge_choice(logprobs, example).score == (best == gold)


def test_a_mode_has_a_name_and_a_version_of_its_own_and_the_same_examples() -> None:
    task, other = tasks.get("nli:likelihood"), tasks.get("nli")
    assert (task.name, task.mode, other.name, other.mode) == ("nli:likelihood", "likelihood", "nli", "generate")
    assert task.version != other.version
    example = task_records.examples("nli")[0]
    assert task.prompt(example) == other.prompt(example)


def test_scores_have_no_release_form() -> None:
    examples = task_records.examples("nli")  # true, false, true
    scores = tasks.get("nli:likelihood").score_choices([[-1, -2], [-1, -2], [math.nan, -1]], examples)
    assert set(scores) == {"score", "score_answered", "answered"}
    assert scores["score"].value == pytest.approx(1 / 3)
    assert scores["score_answered"].value == 0.5
    assert scores["answered"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", [name for name in tasks.NAMES if name not in CHOICES])
def test_other_tasks_have_no_such_mode(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}'.*no likelihood mode"):
        tasks.get(f"{name}:likelihood")


def test_modes_are_never_mixed() -> None:
    with pytest.raises(InputError, match="score_choices"):
        tasks.get("nli:likelihood").score([" True"], task_records.examples("nli")[:1])


def test_a_wrong_number_of_choices_is_refused() -> None:
    with pytest.raises(InputError, match="3 log-probabilities for 2"):
        tasks.get("nli").judge_choice([0, 0, 0], task_records.examples("nli")[0])
