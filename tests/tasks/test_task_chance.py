"""What knowing nothing scores, against all that an answer which does not read the question could score."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks
from tasks import chance
from tasks.base import Task


def blind(task: Task, outputs: list[str]) -> float:
    """The best of some outputs, each given to every example, by the task's own scoring."""
    examples = task.examples()
    return max(task.score([output] * len(examples), examples)["score"].value for output in outputs)


@pytest.mark.parametrize(
    ("name", "outputs", "guessing"),
    [
        ("nli", [" True", " False"], 1 / 2),
        ("closed_domain_qa", [" yes", " no"], 1 / 2),
        ("sentiment", [" positive", " negative"], 1 / 2),
        ("dialogue", [" A", " B", " C", " D"], 1 / 4),
        ("reasoning", [f" {number}" for number in range(1000)], 0.0),
    ],
)
def test_bundled_tasks(name: str, outputs: list[str], guessing: float) -> None:
    task = tasks.get(name)
    assert task.chance(task.examples()) == pytest.approx(max(guessing, blind(task, outputs)))
    if task.has_choices:
        assert task.likelihood().chance(task.examples()) == pytest.approx(max(guessing, blind(task, outputs)))


@pytest.mark.parametrize("name", tasks.NAMES)
def test_no_task_lacks_it(name: str) -> None:
    task = tasks.get(name)
    examples = task.examples(limit=12)
    assert 0 <= task.chance(examples) <= 1
    assert math.isnan(task.chance([]))


def test_the_best_constant_answer_where_it_is_more_than_guessing() -> None:
    task = tasks.get("nli")
    examples = task.examples()
    true = [example for example in examples if example.gold == "true"][:6]
    false = [example for example in examples if example.gold == "false"][:2]
    assert task.chance([*true, *false]) == 0.75
    assert task.likelihood().chance([*true, *false]) == 0.75
    assert task.chance([*true[:1], *false[:1]]) == 0.5


def custom(folder: Path, records: list[dict], rule: str, **keys: object) -> Task:
    path = folder / "mine.yaml"
    content = {"name": "mine", "prompt": "{q}", "answer": "a", "rule": rule, "examples": records} | keys
    path.write_text(json.dumps(content))
    return tasks.get(path)


def test_choices_of_each_example(tmp_path: Path) -> None:
    records = [
        {"q": "one", "a": "x", "c": ["x", "y"]},
        {"q": "two", "a": "p", "c": ["p", "q", "r", "s"]},
        {"q": "three", "a": ["u", "v"], "c": ["u", "v", "w"]},
    ]
    task = custom(tmp_path, records, "choice", choices="c")
    assert task.chance(task.examples()) == pytest.approx((1 / 2 + 1 / 4 + 2 / 3) / 3)  # any of two is right
    assert task.likelihood().chance(task.examples()) == pytest.approx((1 / 2 + 1 / 4 + 1 / 3) / 3)  # the first is
    fixed = custom(tmp_path, [{"q": "1", "a": "yes"}] * 3 + [{"q": "2", "a": "no"}], "choice", choices=["yes", "no"])
    assert fixed.chance(fixed.examples()) == 0.75


@pytest.mark.parametrize("rule", ["exact", "first-word", "contains"])
def test_answers_without_choices(tmp_path: Path, rule: str) -> None:
    task = custom(tmp_path, [{"q": str(i), "a": "yes" if i < 7 else "no"} for i in range(10)], rule)
    assert task.chance(task.examples()) == 0.7
    alone = custom(tmp_path, [{"q": str(i), "a": f"answer {i}"} for i in range(10)], rule)
    assert alone.chance(alone.examples()) == 0.0  # a right answer to one of ten knows that one


worths = st.lists(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0.0, 1.0]), min_size=1), min_size=1)


@settings(deadline=None)
@given(worths)
def test_no_blind_answer_beats_it(worth: list[dict[str, float]]) -> None:
    """Every constant that two examples have, and guessing, score at most chance; and one of them scores it."""
    every = {choice for scores in worth for choice in scores}
    shared = [c for c in every if sum(c in scores for scores in worth) > 1]
    found = [sum(scores.get(choice, 0.0) for scores in worth) / len(worth) for choice in shared]
    found.append(sum(sum(scores.values()) / len(scores) for scores in worth) / len(worth))
    assert chance.of_choices(worth) == pytest.approx(max(found))
