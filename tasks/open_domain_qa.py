"""Open-domain question answering: Natural Questions with a passage, or closed book where the source has none."""

from __future__ import annotations

from pathlib import Path

from modelfolder.errors import InputError
from tasks import fields
from tasks.base import Judgement, Task
from tasks.prompts import Template
from tasks.records import Data, Example, HubData
from tasks.text import equals_any, first_line, has_words, holds_any

CLOSED_BOOK = Template("Answer the following question. Question: {question}")


class OpenDomainQA(Task):
    """score: the first line equals an answer, both normalized. release: some run of its words equals an answer."""

    name = "open_domain_qa"
    max_new_tokens = 20
    template = Template(
        "Refer to the passage below and answer the following question. Passage: {passage} Question: {question}",
        passage="passage",
    )
    metric = "exact match of the first line after normalization"
    data = Data(
        title="Natural Questions, open, with a passage each (hub: without, closed book)",
        split="validation",
        size=3610,
        licence="CC BY-SA 3.0 (questions and answers)",
        citation="Kwiatkowski et al. 2019, Natural Questions, TACL; Lee et al. 2019, arXiv:1906.00300",
        files=("test-OpenDomainQA.jsonl", "nq_open.jsonl", "NQ-open.dev.jsonl"),
        hub=HubData("google-research-datasets/nq_open", None, "validation"),
    )

    def on(self, source: str | Path) -> Task:
        """The closed-book version where the source has no passages: on the hub, or if the first record has none.

        It asks the question alone, and its rows are never mixed with the other's.
        """
        from tasks import sources

        if source != "hub" and any(key in sources.first_record(self, source)[1] for key in ("output", "passage")):
            return self
        return self if self.template is CLOSED_BOOK else self.as_form("", "closed-book", template=CLOSED_BOOK)

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`question`, `answer` (list), `output` (list of one passage) or `passage`. Gold: the list of answers."""
        texts = {"question": fields.text(record, "question")}
        answers = fields.texts(record, "answer")
        if "passage" in self.template.fields:
            if "output" not in record and "passage" not in record:
                raise InputError("field 'output' (a list of one passage) is missing, which the first record has")
            texts["passage"] = (
                fields.texts(record, "output")[0] if "output" in record else fields.text(record, "passage")
            )
        return [Example(index, texts, answers)]

    def template_of(self, example: Example) -> Template:
        return self.template if "passage" in example.fields else CLOSED_BOOK

    def judge(self, output: str, example: Example) -> Judgement:
        score, release = equals_any(first_line(output), example.gold), holds_any(output, example.gold)
        return Judgement(float(score), float(release), has_words(output) or score)

    def gold_output(self, example: Example) -> str:
        return f" {example.gold[0]}"
