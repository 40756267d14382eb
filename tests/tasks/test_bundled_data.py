"""The bundled examples: formats as the data sets have them, balanced, short, and right where that can be computed."""

from __future__ import annotations

import json
import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import tasks
from tasks.registry import TASKS

FOLDER = Path(tasks.__file__).parent / "data"
FIELDS = {
    "reasoning": {"question", "answer"},
    "nli": {"index", "sentence1", "sentence2", "label"},
    "open_domain_qa": {"question", "answer", "output"},
    "closed_domain_qa": {"question", "title", "answer", "passage"},
    "dialogue": {"answers", "options", "article", "id"},
    "summarization": {"id", "summary", "dialogue"},
    "ner": {"tokens", "ner_tags"},
    "sentiment": {"sentence", "label"},
}
EQUATION = re.compile(r"(\d[\d,]*(?: [-+*/] \d[\d,]*)+) = (?:<<([^>]*)=(\d+)>>)?(\d[\d,]*\d|\d)")


def records(task: str) -> list[dict[str, Any]]:
    text = (FOLDER / f"{task}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def number(text: str) -> int:
    return int(text.replace(",", ""))


def value(terms: str) -> Fraction:
    """The value of "80 * 25 / 100" or "3 * 4 + 2": products and quotients first, each from left to right."""
    symbols = re.findall(r"\d+|[-+*/]", terms.replace(",", ""))
    products, signs = [Fraction(symbols[0])], [1]
    for operator, term in zip(symbols[1::2], symbols[2::2], strict=True):
        if operator == "*":
            products[-1] *= int(term)
        elif operator == "/":
            products[-1] /= int(term)
        else:
            products.append(Fraction(term))
            signs.append(1 if operator == "+" else -1)
    return sum((sign * product for sign, product in zip(signs, products, strict=True)), Fraction(0))


def test_every_task_has_its_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == set(FIELDS)


@pytest.mark.parametrize("task", FIELDS)
def test_file_has_the_data_sets_fields(task: str) -> None:
    data = records(task)
    assert len(data) >= 36
    assert all(set(record) == FIELDS[task] for record in data)


@pytest.mark.parametrize("task", FIELDS)
def test_no_example_is_there_twice(task: str) -> None:
    examples = TASKS[task].examples("bundled")
    prompts = Counter(TASKS[task].prompt(example) for example in examples)
    assert [prompt for prompt, count in prompts.items() if count > 1] == []


@pytest.mark.parametrize("task", FIELDS)
def test_prompts_are_short(task: str) -> None:
    """Words of whitespace; a word is about 1.3 tokens."""
    words = [len(TASKS[task].prompt(example).split()) for example in TASKS[task].examples("bundled")]
    assert max(words) <= 90
    assert sum(words) / len(words) <= 80


@pytest.mark.parametrize("task", FIELDS)
def test_gold_output_is_judged_right(task: str) -> None:
    examples = TASKS[task].examples("bundled")
    outputs = [TASKS[task].gold_output(example) for example in examples]
    scores = TASKS[task].score(outputs, examples)
    assert scores["score"].value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("task", "key", "shares"),
    [
        ("nli", "label", {"entailment": 2, "not_entailment": 2}),
        ("closed_domain_qa", "answer", {True: 2, False: 2}),
        ("dialogue", "answers", {"A": 4, "B": 4, "C": 4, "D": 4}),
        ("sentiment", "label", {0: 2, 1: 2}),
    ],
)
def test_labels_are_balanced(task: str, key: str, shares: dict[Any, int]) -> None:
    data = records(task)
    assert Counter(record[key] for record in data) == {label: len(data) // share for label, share in shares.items()}


def test_reasoning_equations_hold_and_end_in_the_answer() -> None:
    for record in records("reasoning"):
        rationale, mark, gold = record["answer"].rpartition("\n#### ")
        equations = EQUATION.findall(rationale)
        assert mark
        assert rationale.count(" = ") == len(equations) >= 1, rationale
        for terms, marked, marked_result, result in equations:
            assert value(terms) == number(result), f"{terms} = {result}"
            assert not marked or (value(" ".join(re.findall(r"\d+|\D", marked))) == number(marked_result))
        assert number(equations[-1][3]) == number(gold), record["question"]
        assert re.fullmatch(r"\d[\d,]*", gold)


def test_open_domain_answers_stand_in_their_passage() -> None:
    for record in records("open_domain_qa"):
        (passage,) = record["output"]
        assert all(answer in passage for answer in record["answer"]), record["question"]
        assert not any(answer.casefold() in record["question"].casefold() for answer in record["answer"])


def test_yes_no_questions_are_written_as_in_the_data_set() -> None:
    for record in records("closed_domain_qa"):
        assert record["question"] == record["question"].lower()
        assert not record["question"].endswith("?")


def test_dialogues_take_turns_and_options_are_the_next_turn() -> None:
    other = {"m": "f", "f": "m"}
    for record in records("dialogue"):
        speakers = re.findall(r"(?:^| )([mf]) : ", record["article"])
        assert len(speakers) >= 2
        assert all(after == other[before] for before, after in pairwise(speakers)), record["id"]
        assert len(set(record["options"])) == 4
        assert all(option.startswith(f"{other[speakers[-1]]} : ") for option in record["options"]), record["id"]
        assert record["article"] == record["article"].lower()


def test_ids_are_unique() -> None:
    for task, key in (("nli", "index"), ("dialogue", "id"), ("summarization", "id")):
        values = [record[key] for record in records(task)]
        assert len(set(values)) == len(values)


def test_summaries_are_shorter_than_dialogues_with_turns() -> None:
    breaks = Counter("\r\n" in record["dialogue"] for record in records("summarization"))
    assert set(breaks) == {True, False}
    for record in records("summarization"):
        turns = record["dialogue"].splitlines()
        assert len(turns) >= 2
        assert all(re.match(r"\w+: \S", turn) for turn in turns), record["id"]
        assert len(record["summary"].split()) < len(record["dialogue"].split())


def test_most_summaries_name_a_speaker() -> None:
    data = records("summarization")
    speakers = [{turn.split(":")[0] for turn in record["dialogue"].splitlines()} for record in data]
    named = [any(name in record["summary"] for name in names) for record, names in zip(data, speakers, strict=True)]
    assert sum(named) >= 0.8 * len(data)


def test_ner_tags_are_bio2_and_every_type_is_there() -> None:
    begun: Counter[str] = Counter()
    for record in records("ner"):
        tokens, tags = record["tokens"], record["ner_tags"]
        assert len(tokens) == len(tags)
        assert all(token == token.strip() != "" and " " not in token for token in tokens)
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert re.fullmatch(r"O|[BI]-(PER|ORG|LOC|MISC)", tag), tag
            assert not tag.startswith("I-") or before[2:] == tag[2:], tags
            begun[tag[2:]] += tag.startswith("B-")
        assert all(token[:1].isupper() for token, tag in zip(tokens, tags, strict=True) if tag.startswith("B-")), tokens
    assert min(begun[kind] for kind in ("PER", "ORG", "LOC", "MISC")) >= 20


def test_snippets_are_lower_case_and_tokenized() -> None:
    for record in records("sentiment"):
        assert record["sentence"] == record["sentence"].lower()
        assert record["sentence"].endswith(" .")
