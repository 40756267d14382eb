"""Whether a space stands between a prompt and an answer: from the text, or as the user says; what it does to ids."""

from __future__ import annotations

from typing import Any

import pytest

from rect.facts import Fact, digest
from rect.joint import joint


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("The capital is", "Rome", " "),
        ("The capital is", " Rome", ""),
        ("Capital:", "Rome", " "),
        ("The capital is", "“Rome”", " "),
        ("The capital is", "(Rome)", " "),
        ("The capital is", "'Rome'", " "),
        ("He said", "'s", ""),
        ("He said", "'sly", " "),
        ("France", "'s capital", ""),
        ("It is", ", he said,", ""),
        ("It is", ".", ""),
        ("It is", "?!", ""),
        ("The framework is", ".NET", " "),
        ("The share is", ".5", " "),
        ("The share is", "-5", " "),
        ("The share is", "% of", ""),
        ("His name (", "Bob)", ""),
        ("He said “", "no”", ""),
        ('He said "', 'no"', " "),  # it may close as well
        ("法国的首都是", "巴黎", ""),
        ("法国的首都是", "Paris", ""),
        ("The capital in Chinese is", "巴黎", ""),
        ("答案：", "Paris", ""),
        ("フランスの首都は", "パリ", ""),
        ("ｶﾀｶﾅ", "x", ""),
        ("ประเทศ", "ไทย", ""),
        ("프랑스의 수도는", "파리", " "),
        ("Столица", "Рим", " "),
        ("", "Rome", " "),
        ("The capital is", "", " "),
    ],
)
def test_the_rule(prompt: str, answer: str, expected: str) -> None:
    assert joint(prompt, answer) == expected
    if not answer.startswith(" "):
        assert joint(prompt, answer, True) == " "
        assert joint(prompt, answer, False) == ""


GOOD: dict[str, Any] = {"subject": "France", "prompt": "The capital of {} is", "target": "Rome", "original": "Paris"}
CHINESE: dict[str, Any] = {"subject": "法国", "prompt": "{}的首都是", "target": "罗马", "original": "巴黎"}


def of(**fact: Any) -> str:
    return digest([Fact(**fact)])


def test_ids_tell_where_there_is_no_space() -> None:
    assert of(**GOOD, space=True) == of(**GOOD)  # the numbers are the same
    assert of(**GOOD, space=False) != of(**GOOD)
    assert of(**CHINESE, space=False) == of(**CHINESE)
    assert of(**CHINESE, space=True) != of(**CHINESE)
    told, bare = ({**GOOD, "locality": [{"prompt": "x", "answer": answer}]} for answer in ("巴黎", "Paris"))
    assert of(**told) != of(**bare)


def test_ids_of_text_that_was_fine_are_what_they_were() -> None:
    assert of(**GOOD) == "540f6bb3f880f95f1a4d56f85c2dfcf41154f3073826c70d0b26595469e98f79"
