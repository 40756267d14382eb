"""The six: SST, MRPC, CoLA, RTE, MMLU, NLI. Prompts as in AlphaEdit's glue_eval, without examples in them."""

from __future__ import annotations

from typing import ClassVar

from tasks import fields
from tasks.dialogue import ANSWERS, LETTERS
from tasks.glue.task import CITATION, GlueTask
from tasks.nli import LABELS as ENTAILMENT
from tasks.prompts import Template
from tasks.records import Data, Example, HubData

GLUE = "nyu-mll/glue"
REDISTRIBUTED = "GLUE's redistribution, research use"
YES_NO = {"yes": " Yes", "no": " No"}
TRUE_FALSE = {"true": " True", "false": " False"}
POSITIVE = {"positive": " positive", "negative": " negative"}


class GlueSST(GlueTask):
    """Sentiment of a review."""

    name = "glue_sst"
    template = Template("Review :{sentence}\nSentiment :", passage="sentence")
    labels: ClassVar = {"1": "positive", "0": "negative", "positive": "positive", "negative": "negative"}
    answers = POSITIVE
    behind = "Sentiment :"
    data = Data(
        title="SST-2 (GLUE)",
        split="validation",
        size=872,
        licence="Stanford Sentiment Treebank, research use",
        citation=f"Socher et al. 2013, Recursive Deep Models for Semantic Compositionality, EMNLP. {CITATION}",
        files=("sst2.jsonl", "sst2.tsv", "SST-2/dev.tsv", "sst2/dev.tsv"),
        hub=HubData(GLUE, "sst2", "validation"),
    )


class GlueMRPC(GlueTask):
    """Whether two sentences say the same."""

    name = "glue_mrpc"
    template = Template(
        "Are the sentences paraphrases of each other.\nSentence 1: {sentence1}\nSentence 2: {sentence2}\nAnswer:",
        passage="sentence1",
    )
    labels: ClassVar = {"1": "yes", "0": "no", "equivalent": "yes", "not_equivalent": "no"}
    answers = YES_NO
    behind = "Answer:"
    data = Data(
        title="MRPC (GLUE)",
        split="validation",
        size=408,
        licence="Microsoft Research Paraphrase Corpus, research use",
        citation=f"Dolan and Brockett 2005, Automatically Constructing a Corpus of Sentential Paraphrases. {CITATION}",
        files=("mrpc.jsonl", "mrpc.tsv", "MRPC/dev.tsv", "mrpc/dev.tsv"),
        hub=HubData(GLUE, "mrpc", "validation"),
    )

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`sentence1`, `sentence2`, `label` (1 equivalent); in GLUE's files `#1 String`, `#2 String`, `Quality`."""
        plain = "sentence1" in record
        texts = {f"sentence{i}": fields.text(record, f"sentence{i}" if plain else f"#{i} String") for i in (1, 2)}
        return [Example(index, texts, fields.label(record, "label" if plain else "Quality", self.labels))]


class GlueCoLA(GlueTask):
    """Whether a sentence is acceptable. The prompt ends with a space, as released."""

    name = "glue_cola"
    template = Template("Is this sentence linguistically acceptable?\nSentence: {sentence}\nAnswer: ")
    labels: ClassVar = {"1": "yes", "0": "no", "acceptable": "yes", "unacceptable": "no"}
    answers = YES_NO
    behind = "Answer:"
    data = Data(
        title="CoLA (GLUE)",
        split="validation",
        size=1043,
        licence=REDISTRIBUTED,
        citation=f"Warstadt et al. 2019, Neural Network Acceptability Judgments, TACL. {CITATION}",
        files=("cola.jsonl", "cola.tsv"),
        hub=HubData(GLUE, "cola", "validation"),
    )


class GlueRTE(GlueTask):
    """Whether a text entails a sentence.

    The release takes the label 0, which is entailment, for False: its gold answers are turned around, and so is what
    its published figures count. `score_release` is so too; `score` and `f1` are not.
    """

    name = "glue_rte"
    template = Template("{sentence1}\nquestion: {sentence2} True or False?\nanswer:", passage="sentence1")
    labels = ENTAILMENT
    answers = TRUE_FALSE
    words: ClassVar = {"false": "false", "true": "true"}
    behind = "answer:"
    data = Data(
        title="RTE (GLUE)",
        split="validation",
        size=277,
        licence=REDISTRIBUTED,
        citation=f"Dagan et al. 2005, The PASCAL Recognising Textual Entailment Challenge. {CITATION}",
        files=("rte.jsonl", "rte.tsv", "RTE/dev.tsv", "rte/dev.tsv"),
        hub=HubData(GLUE, "rte", "validation"),
    )

    def release_gold(self, example: Example) -> str:
        return {"true": "false", "false": "true"}[example.gold]


class GlueNLI(GlueTask):
    """Whether a text entails a sentence, in other words, on the file that RECT's release calls its NLI task."""

    name = "glue_nli"
    template = Template("{sentence1} entails the {sentence2} True or False? Answer:", passage="sentence1")
    labels = ENTAILMENT
    answers = TRUE_FALSE
    behind = "True or False? Answer:"
    data = Data(
        title="RTE (GLUE)",
        split="train",
        size=2490,
        licence=REDISTRIBUTED,
        citation=f"Dagan et al. 2005, The PASCAL Recognising Textual Entailment Challenge. {CITATION}",
        files=("test-NLI.tsv", "RTE/train.tsv", "rte/train.tsv"),
        hub=HubData(GLUE, "rte", "train"),
    )


class GlueMMLU(GlueTask):
    """Multiple choice. The release counts a letter in front of a line end, in any word."""

    name = "glue_mmlu"
    template = Template("Question: {question}\n(A) {o0}\n(B) {o1}\n(C) {o2}\n(D) {o3}\nAnswer:")
    labels: ClassVar = {letter: letter for letter in LETTERS} | {str(i): letter for i, letter in enumerate(LETTERS)}
    answers = ANSWERS
    fold = False
    words: ClassVar = {f"{letter.lower()}\n": letter for letter in LETTERS}
    data = Data(
        title="MMLU",
        split="test",
        size=14042,
        licence="MIT",
        citation=f"Hendrycks et al. 2021, Measuring Massive Multitask Language Understanding, ICLR. {CITATION}",
        files=("mmlu.jsonl", "mmlu.tsv"),
        hub=HubData("cais/mmlu", "all", "test"),
    )

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`question`, `choices` (four), `answer`: the letter, or its number from 0."""
        texts = {"question": fields.text(record, "question")}
        options = fields.texts(record, "choices", count=len(LETTERS))
        texts |= {f"o{i}": option for i, option in enumerate(options)}
        return [Example(index, texts, fields.label(record, "answer", self.labels))]
