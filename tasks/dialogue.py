"""Dialogue: MuTual, choose the next utterance among four."""

from __future__ import annotations

from modelfolder.errors import InputError
from modelfolder.values import shown
from tasks import fields
from tasks.base import Judgement, Task
from tasks.prompts import Template
from tasks.records import Data, Example, HubData
from tasks.text import first_standalone

LETTERS = ("A", "B", "C", "D")
ANSWERS = {letter: f" {letter}" for letter in LETTERS}


class Dialogue(Task):
    """score: the first standalone capital A-D is the gold letter. release: the gold letter occurs, also in 'Among'."""

    name = "dialogue"
    max_new_tokens = 1
    template = Template(
        "Q: {article} Which choice is correct? Answer Choices: (A){o0} (B){o1} (C){o2} (D){o3} "
        "A: Among A through D, the answer is",
        passage="article",
    )
    metric = "accuracy of the letter (Recall4@1): the first standalone letter A-D"
    data = Data(
        title="MuTual",
        split="dev",
        size=886,
        licence="not stated",
        citation="Cui et al. 2020, MuTual: A Dataset for Multi-Turn Dialogue Reasoning, ACL, arXiv:2004.04494",
        files=("test-dialogue/*.txt", "mutual.jsonl", "mutual/dev/*.txt", "data/mutual/dev/*.txt"),
        hub=HubData("lighteval/mutual_harness", "mutual", "validation"),
        text="mutual",
    )
    answers = ANSWERS

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`article`, `options` (four), `answers` (the letter). Gold: the letter."""
        texts = {"article": fields.text(record, "article")}
        options = fields.texts(record, "options", count=len(LETTERS))
        texts |= {f"o{position}": option for position, option in enumerate(options)}
        gold = fields.label(record, "answers", {letter: letter for letter in LETTERS})
        right = options[LETTERS.index(gold)]
        if options.count(right) > 1:
            raise InputError(f"field 'options' holds the right one, {shown(right)}, more than once: no letter is right")
        return [Example(index, texts, gold)]

    def judge(self, output: str, example: Example) -> Judgement:
        letter = first_standalone(output, LETTERS)
        return Judgement(float(letter == example.gold), float(example.gold in output), letter is not None)
