"""Closed-domain question answering: BoolQ, yes or no from a passage."""

from __future__ import annotations

from tasks import fields
from tasks.base import Judgement, Task
from tasks.prompts import Template
from tasks.records import Data, Example, HubData

ANSWERS = {"yes": " yes", "no": " no"}


class ClosedDomainQA(Task):
    """Right when the output, stripped and case folded, is the gold 'yes' or 'no'; an answer when it is either."""

    name = "closed_domain_qa"
    max_new_tokens = 1
    template = Template(
        "Please answer the given question based on the passage. The answer should be exact 'yes' or 'no'. "
        "passage: {passage} question: {question}. answer:",
        passage="passage",
    )
    metric = "exact match of 'yes' or 'no', stripped and case folded"
    data = Data(
        title="BoolQ",
        split="validation",
        size=3270,
        licence="CC BY-SA 3.0",
        citation="Clark et al. 2019, BoolQ, NAACL, arXiv:1905.10044",
        files=("test-ClosedDomainQA.jsonl", "boolq.jsonl", "BoolQ/dev.jsonl", "boolq/dev.jsonl"),
        hub=HubData("google/boolq", None, "validation"),
    )
    answers = ANSWERS

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`passage`, `question`, `answer` (true or false). Gold: "yes" or "no"."""
        texts = {name: fields.text(record, name) for name in ("passage", "question")}
        return [Example(index, texts, "yes" if fields.flag(record, "answer") else "no")]

    def judge(self, output: str, example: Example) -> Judgement:
        answer = output.strip().casefold()
        right = float(answer == example.gold)
        return Judgement(right, right, answer in self.answers)
