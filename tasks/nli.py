"""Natural language inference: RTE as a question of true or false."""

from __future__ import annotations

from tasks.base import Labelled
from tasks.prompts import Template
from tasks.records import Data, HubData

LABELS = {"entailment": "true", "not_entailment": "false", "0": "true", "1": "false"}
ANSWERS = {"true": " True", "false": " False"}


class NLI(Labelled):
    """Right when the first of 'true' and 'false' in the output is the gold one, case folded.

    A record has `sentence1`, `sentence2`, `label`: GLUE's names or numbers (0 is entailment).
    """

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
    labels = LABELS
    answers = ANSWERS
