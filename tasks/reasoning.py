"""Reasoning: GSM8K with the gold rationale as a hint, so that only the final number is left to say."""

from __future__ import annotations

from modelfolder.errors import InputError
from tasks import fields
from tasks.base import Judgement, Task
from tasks.prompts import Template
from tasks.records import Data, Example, HubData
from tasks.text import first_number, is_number


class Reasoning(Task):
    """score: the output's first number is the gold number. release: the gold string occurs in it (180 for 18)."""

    name = "reasoning"
    max_new_tokens = 5
    template = Template(
        "Q: {question} A: Let's think step by step. {hint} Therefore, the answer (arabic numerals) is:", passage="hint"
    )
    metric = "solve rate: the first number, commas and $ removed, equals the gold number"
    data = Data(
        title="GSM8K",
        split="test",
        size=1319,
        licence="MIT",
        citation="Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems, arXiv:2110.14168",
        files=("test-reasoning.jsonl", "gsm8k.jsonl", "gsm8k/test.jsonl", "grade_school_math/data/test.jsonl"),
        hub=HubData("openai/gsm8k", "main", "test"),
    )

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`question`; `answer`: the rationale, then `#### ` and the number. Gold: the number as written ("2,125")."""
        question = fields.text(record, "question")
        hint, mark, gold = fields.text(record, "answer").partition("#### ")
        gold = gold.strip()
        if not mark or not is_number(gold):
            raise InputError(f"field 'answer' must end in '#### ' and a number, not {gold[-40:]!r}")
        return [Example(index, {"question": question, "hint": hint}, gold)]

    def judge(self, output: str, example: Example) -> Judgement:
        number = first_number(output)
        return Judgement(
            score=float(number is not None and number == first_number(example.gold)),
            release=float(example.gold in output),
            answered=number is not None,
        )
