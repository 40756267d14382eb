"""Summarization: SAMSum, the dialogue followed by TL;DR."""

from __future__ import annotations

from tasks import fields
from tasks.base import Judgement, Task
from tasks.prompts import Template
from tasks.records import Data, Example, HubData
from tasks.text import has_words, rouge

RELEASE_CUT = 13  # characters that the release cuts from the end of each output


class Summarization(Task):
    """score: mean of ROUGE-1, -2, -L F1. release: the same after cutting the output's last 13 characters."""

    name = "summarization"
    max_new_tokens = 25
    template = Template("{dialogue}\nTL;DR:", passage="dialogue")
    metric = "mean of ROUGE-1, ROUGE-2, ROUGE-L F1 (rouge-score, no stemmer)"
    data = Data(
        title="SAMSum",
        split="validation",
        size=818,
        licence="CC BY-NC-ND 4.0",
        citation="Gliwa et al. 2019, SAMSum Corpus, arXiv:1911.12237",
        files=("test-summarization.json", "samsum.jsonl", "samsum/val.json"),
        hub=HubData("knkarthick/samsum", None, "validation"),
    )

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`dialogue`, `summary`. Gold: the summary."""
        return [Example(index, {"dialogue": fields.text(record, "dialogue")}, fields.text(record, "summary"))]

    def judge(self, output: str, example: Example) -> Judgement:
        score, release = (rouge(text, example.gold) for text in (output, output[:-RELEASE_CUT]))
        return Judgement(score, release, has_words(output))
