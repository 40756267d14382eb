"""Sentiment: SST-2, positive or negative."""

from __future__ import annotations

from tasks import fields
from tasks.base import Labelled
from tasks.prompts import Template
from tasks.records import Data, Example, HubData

LABELS = {"1": "positive", "0": "negative", "positive": "positive", "negative": "negative"}
ANSWERS = {"positive": " positive", "negative": " negative"}


class Sentiment(Labelled):
    """Right when the first of 'positive' and 'negative' in the output is the gold one, case folded."""

    name = "sentiment"
    max_new_tokens = 1
    template = Template(
        "For each snippet of text, label the sentiment of the text as positive or negative. "
        "The answer should be exact 'positive' or 'negative'. text: {text} answer:",
        passage="text",
    )
    metric = "accuracy: 'positive' for 1, 'negative' for 0"
    data = Data(
        title="SST-2 (GLUE)",
        split="validation",
        size=872,
        licence="Stanford Sentiment Treebank, research use",
        citation="Socher et al. 2013, Recursive Deep Models for Semantic Compositionality, EMNLP",
        files=("test-SentimentAnalysis.tsv", "sst2.jsonl", "sst2.tsv", "SST-2/dev.tsv", "sst2/dev.tsv"),
        hub=HubData("nyu-mll/glue", "sst2", "validation"),
    )
    labels = LABELS
    answers = ANSWERS

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`sentence`, `label` (1 positive, 0 negative). Gold: "positive" or "negative"."""
        return [Example(index, {"text": fields.text(record, "sentence")}, fields.label(record, "label", self.labels))]
