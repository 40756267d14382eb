"""Rows, lookup positions and targets: the odd cases of real prompts."""

from __future__ import annotations

from typing import Any

import pytest

from rect.facts import Fact
from rect.joint import joint
from rect.prompts import Row, continue_with, edit_rows, encode, kl_row, token_at
from tests.tiny import byte_level_tokenizer, metaspace_tokenizer

TEMPLATES = ["{}", "The answer is. {}", "{} And so on."]


@pytest.fixture(scope="module", params=["byte-level", "metaspace"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return {"byte-level": byte_level_tokenizer, "metaspace": metaspace_tokenizer}[request.param]()


def text_until(tokenizer: Any, row: Row) -> str:
    """What the tokens up to the lookup position spell."""
    return tokenizer.decode(row.ids[: row.lookup + 1], skip_special_tokens=True).strip()


CASES = {
    "plain": (Fact(subject="France", prompt="The capital of {} is", target="Rome"), "The capital of France"),
    "first": (Fact(subject="Albert Einstein", prompt="{} was born in", target="Ulm"), "Albert Einstein"),
    "last": (Fact(subject="Spain", prompt="People live in {}", target="a house"), "People live in Spain"),
    "glued": (Fact(subject="France", prompt="Is {}'s capital", target="Rome"), "Is France"),
    "quoted": (Fact(subject="France", prompt='He said "{}" is', target="Rome"), 'He said "France'),
    "name twice": (
        Fact(subject="France", prompt="France is old. The capital of {} is", target="Rome"),
        "France is old. The capital of France",
    ),
    "place twice": (Fact(subject="France", prompt="{} is old. The capital of {} is", target="Rome"), "France"),
    "braces": (Fact(subject="a {b}", prompt="{x: {1}} of {} is {0}", target="{c}"), "{x: {1}} of a {b}"),
    "Japanese": (Fact(subject="東京", prompt="{}は", target="首都"), "東京"),
    "Russian": (
        Fact(subject="Лев Толстой", prompt="The tongue of {} is", target="Russian"),
        "The tongue of Лев Толстой",
    ),
    "accent": (Fact(subject="Zoë", prompt="The tongue of {} is", target="Dutch"), "The tongue of Zoë"),
    "emoji": (Fact(subject="the 🐝", prompt="The tongue of {} is", target="honey"), "The tongue of the 🐝"),
}


@pytest.mark.parametrize("case", CASES)
def test_lookup_is_the_subjects_last_token(tokenizer: Any, case: str) -> None:
    fact, until = CASES[case]
    rows = edit_rows(tokenizer, fact, TEMPLATES)
    starts = ["", "The answer is. ", ""]
    for row, start in zip(rows, starts, strict=True):
        reached = text_until(tokenizer, row)
        assert reached.startswith(start + until)
        assert not text_until(tokenizer, Row(row.ids, row.lookup - 1)).startswith(start + until)
        assert len(reached) <= len(start + until) + 1  # at most a quote or the like that shares the token


@pytest.mark.parametrize("case", CASES)
def test_rows_hold_the_prompt_and_all_of_the_target_but_its_last_token(tokenizer: Any, case: str) -> None:
    fact, _ = CASES[case]
    for row, template in zip(edit_rows(tokenizer, fact, TEMPLATES), TEMPLATES, strict=True):
        text = template.replace("{}", fact.filled)
        n = len(row.targets)
        assert list(row.ids[: row.length - n + 1]) == encode(tokenizer, text)
        assert row.ids[row.length - n + 1 :] == row.targets[:-1]
        whole = tokenizer.decode([*row.ids, row.targets[-1]], skip_special_tokens=True)
        assert whole.strip() == text + joint(text, fact.target) + fact.target


def test_the_kl_row_ends_with_the_subject(tokenizer: Any) -> None:
    row = kl_row(tokenizer, "Albert Einstein")
    assert row.lookup == row.length - 1
    assert text_until(tokenizer, row) == "Albert Einstein"


@pytest.mark.parametrize("space", [None, True, False])
@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("法国的首都是", "巴黎"),
        ("フランスの首都は", "パリです"),
        ("He said it", ", and left"),
        ("The capital is", "Rome"),
        ("The number is", "-5"),
        ("法国的首都是", "Paris"),
        ("ประเทศไทย", "กรุงเทพ"),
        ("프랑스의 수도는", "파리"),
    ],
)
def test_an_answer_reads_behind_its_prompt_as_the_text_does(
    tokenizer: Any, prompt: str, answer: str, space: bool | None
) -> None:
    ids, target = continue_with(tokenizer, prompt, answer, space)
    assert ids == encode(tokenizer, prompt)
    said = tokenizer.decode([*ids, *target], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert said.strip() == prompt + joint(prompt, answer, space) + answer
    fact = Fact(subject=prompt[:2], prompt="{}" + prompt[2:], target=answer, space=space)
    [row] = edit_rows(tokenizer, fact, ["{}"])
    assert row.targets == tuple(target)  # edited as it is evaluated


def test_beginning_of_sequence_token_counts() -> None:
    row = edit_rows(metaspace_tokenizer(), CASES["plain"][0], ["{}"])[0]
    assert row.ids[0] == metaspace_tokenizer().bos_token_id
    assert row.ids[1] != metaspace_tokenizer().bos_token_id


def test_a_target_that_would_change_the_prompts_tokens_is_tokenized_apart(tokenizer: Any) -> None:
    class Merging:
        """Reads a text that goes on in " four" with other tokens from the start."""

        def __call__(self, text: str, **how: Any) -> dict[str, list[int]]:
            ids = tokenizer(text, **how)["input_ids"]
            return {"input_ids": ids[::-1] if text.endswith("three four") else ids}

        def decode(self, ids: list[int], **how: Any) -> str:
            return str(tokenizer.decode(ids, **how))

    ids, target = continue_with(Merging(), "one two three", "four")
    assert ids == encode(tokenizer, "one two three")
    assert ids + target == encode(tokenizer, "one two three four")  # the space between them stands there once


@pytest.mark.parametrize("tail", ["巴黎", ", he"])
def test_an_answer_without_a_space_that_is_tokenized_apart_gets_none(tokenizer: Any, tail: str) -> None:
    """Where prompt and answer would share a token, and the tokenizer puts a space before what it is given alone."""

    class Merging:
        def __call__(self, text: str, **how: Any) -> dict[str, list[int]]:
            ids = tokenizer(text, **how)["input_ids"]
            return {"input_ids": ids[::-1] if text.endswith(f"three{tail}") else ids}

        def decode(self, ids: list[int], **how: Any) -> str:
            return str(tokenizer.decode(ids, **how))

    ids, target = continue_with(Merging(), "one two three", tail)
    assert ids == encode(tokenizer, "one two three")
    assert tokenizer.decode([*ids, *target], skip_special_tokens=True).strip() == f"one two three{tail}"


def test_without_offsets_the_subject_is_counted(tokenizer: Any) -> None:
    class Slow:
        is_fast = False

        def __call__(self, text: str, **kwargs: Any) -> Any:
            assert "return_offsets_mapping" not in kwargs
            return tokenizer(text, **kwargs)

    text = "The capital of France is"
    ids, end = encode(tokenizer, text), len("The capital of France")
    assert token_at(Slow(), text, ids, end) == token_at(tokenizer, text, ids, end)
