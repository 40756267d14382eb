"""Prompts byte for byte, token budgets, and cutting of passages."""

from __future__ import annotations

import pytest
import task_records
from hypothesis import given
from hypothesis import strategies as st

import tasks
from modelfolder.errors import InputError
from tasks.prompts import Template

PROMPTS = {
    "reasoning": "Q: Tom has 3 apples and buys 15. How many now? A: Let's think step by step. "
    "3 + 15 = <<3+15=18>>18 apples.\n Therefore, the answer (arabic numerals) is:",
    "nli": "A man sleeps. entails the Somebody sleeps.. True or False? answer:",
    "open_domain_qa": "Refer to the passage below and answer the following question. Passage: \n\nA play. "
    "Question: who wrote faust",
    "closed_domain_qa": "Please answer the given question based on the passage. "
    "The answer should be exact 'yes' or 'no'. passage: Water wets things. question: is water wet. answer:",
    "dialogue": "Q: f : hello Which choice is correct? Answer Choices: (A)m : a (B)m : b (C)m : c (D)m : d "
    "A: Among A through D, the answer is",
    "summarization": "Ann: I buy milk\r\nBob: ok\nTL;DR:",
    "ner": "Please identify Person Entity from the given text. Text: Angela Merkel met IBM in Berlin, Germany. Entity:",
    "sentiment": "For each snippet of text, label the sentiment of the text as positive or negative. "
    "The answer should be exact 'positive' or 'negative'. text: a lovely film . answer:",
}
BUDGETS = {
    "reasoning": 5,
    "nli": 1,
    "open_domain_qa": 20,
    "closed_domain_qa": 1,
    "dialogue": 1,
    "summarization": 25,
    "ner": 10,
    "sentiment": 1,
}


@pytest.mark.parametrize("name", tasks.NAMES)
def test_prompt_byte_for_byte(name: str) -> None:
    assert tasks.get(name).prompt(task_records.examples(name)[0]) == PROMPTS[name]


def test_budgets() -> None:
    assert {name: tasks.get(name).max_new_tokens for name in tasks.NAMES} == BUDGETS


def test_ner_asks_for_four_types_in_the_papers_order() -> None:
    types = [example.fields["type"] for example in task_records.examples("ner")]
    assert types == ["Person", "Location", "Organization", "Miscellaneous"] * 3


def test_values_with_braces_are_not_filled_again() -> None:
    assert Template("{a} {b} {{c}}").fill({"a": "{b}", "b": "x"}) == "{b} x {c}"


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InputError, match="'quesion'; did you mean 'question'"):
        Template("{quesion}").fill({"question": "x"})


def test_a_passage_that_is_no_field_is_refused() -> None:
    with pytest.raises(InputError, match="passage"):
        Template("{a}", passage="b")


def count_words(prompt: str) -> int:
    return len(prompt.split())


def test_a_prompt_that_fits_is_left_alone() -> None:
    template = Template("P: {p} Q: {q}", passage="p")
    assert template.fit({"p": "one two", "q": "why"}, count_words, 5) == ("P: one two Q: why", False)


def test_the_passage_is_cut_from_the_left_at_a_word_and_the_question_stays() -> None:
    template = Template("P: {p} Q: {q}", passage="p")
    assert template.fit({"p": "one two three four", "q": "why so"}, count_words, 6) == ("P: three four Q: why so", True)


def test_a_question_that_is_too_long_by_itself_stays_whole() -> None:
    template = Template("P: {p} Q: {q}", passage="p")
    assert template.fit({"p": "one two", "q": "why is this so long"}, count_words, 4) == (
        "P:  Q: why is this so long",
        True,
    )


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_task_says_what_may_be_cut(name: str) -> None:
    task = tasks.get(name)
    example = task_records.examples(name)[0]
    passage = task.template.passage
    assert passage
    long = type(example)(example.id, {**example.fields, passage: "word " * 500 + "end"}, example.gold)
    prompt, truncated = task.fit(long, count_words, 80)
    assert truncated
    assert 70 < count_words(prompt) <= 80
    assert "word end" in prompt
    kept = [value for field, value in example.fields.items() if field != passage]
    assert all(value in prompt for value in kept)


@given(passage=st.text(max_size=80), question=st.text(max_size=20), limit=st.integers(0, 120), step=st.integers(1, 4))
def test_cutting_keeps_the_longest_suffix(passage: str, question: str, limit: int, step: int) -> None:
    """With a monotone count: a suffix of the passage, nearly all that fits, too long only if nothing could help."""
    template = Template("P: {p} Q: {q}", passage="p")

    def count(prompt: str) -> int:
        return len(prompt) // step

    prompt, truncated = template.fit({"p": passage, "q": question}, count, limit)
    head, tail = "P: ", f" Q: {question}"
    kept = prompt[len(head) : len(prompt) - len(tail)]
    assert prompt == head + kept + tail
    assert passage.endswith(kept)
    assert truncated == (kept != passage)
    if count(prompt) > limit:
        assert kept == ""
    elif truncated:
        longest = next(
            n for n in range(len(passage), -1, -1) if count(head + passage[len(passage) - n :] + tail) <= limit
        )
        assert longest - 40 <= len(kept) <= longest
