"""Natural language inference: RTE as a question of true or false."""

from __future__ import annotations

from tasks import fields
from tasks.base import Judgement, Task
from tasks.prompts import Template
from tasks.records import Data, Example, HubData
from tasks.text import first_of

LABELS = {"entailment": "true", "not_entailment": "false", "0": "true", "1": "false"}
ANSWERS = {"true": " True", "false": " False"}


class NLI(Task):
    """Right when the first of 'true' and 'false' in the output is the gold one, case folded."""

    name = "nli"
    max_new_tokens = 1
    template = Template("{sentence1} entails the {sentence2}. True or False? answer:", passage="sentence1")
    metric = "accuracy: 'true' for entailment, 'false' for not_entailment"
    data = Data(
        title="RTE (GLUE)",
        split="validation",
        size=277,
        licence="GLUE's redistribution of the PASCAL RTE challenges, research use",
        citation="Dagan et al. 2005, The PASCAL Recognising Textual Entailment Challenge; Wang et al. 2019, GLUE",
        files=("test-NLI.tsv", "rte.jsonl", "rte.tsv", "RTE/dev.tsv", "rte/dev.tsv"),
        hub=HubData("nyu-mll/glue", "rte", "validation"),
    )
    answers = ANSWERS

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """`sentence1`, `sentence2`, `label`: GLUE's names or numbers (0 is entailment). Gold: "true" or "false"."""
        texts = {name: fields.text(record, name) for name in ("sentence1", "sentence2")}
        return [Example(index, texts, fields.label(record, "label", LABELS))]

    def judge(self, output: str, example: Example) -> Judgement:
        answer = first_of(output, ("true", "false"))
        right = float(answer == example.gold)
        return Judgement(right, right, answer is not None)
