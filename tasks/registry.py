"""All tasks by name. A new one is one file and one line here, or no line at all: a YAML file (docs/add-a-task.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modelfolder.errors import InputError, nearest
from tasks.base import Task
from tasks.closed_domain_qa import ClosedDomainQA
from tasks.dialogue import Dialogue
from tasks.glue.sets import GlueCoLA, GlueMMLU, GlueMRPC, GlueNLI, GlueRTE, GlueSST
from tasks.ner import NER
from tasks.nli import NLI
from tasks.open_domain_qa import OpenDomainQA
from tasks.reasoning import Reasoning
from tasks.sentiment import Sentiment
from tasks.summarization import Summarization

TASKS: dict[str, Task] = {
    "reasoning": Reasoning(),
    "nli": NLI(),
    "open_domain_qa": OpenDomainQA(),
    "closed_domain_qa": ClosedDomainQA(),
    "dialogue": Dialogue(),
    "summarization": Summarization(),
    "ner": NER(),
    "sentiment": Sentiment(),
}
NAMES: tuple[str, ...] = tuple(TASKS)
GLUE: dict[str, Task] = {
    task.name: task for task in (GlueSST(), GlueMRPC(), GlueCoLA(), GlueRTE(), GlueMMLU(), GlueNLI())
}
SETS: dict[str, tuple[str, ...]] = {"all": NAMES, "glue": tuple(GLUE)}
"""Words for several tasks."""

_FILES = (".yaml", ".yml", ".jsonl")
_HARNESS = "lm_eval:"
_FORMS: dict[str, Callable[[Task], Task]] = {":likelihood": Task.likelihood, ":chat": Task.in_chat}


def get(name: str | Path) -> Task:
    """A task by its name, or from the path of a YAML or JSONL file.

    `<task>:likelihood` is its likelihood mode, `<task>:chat` its form for instruction-tuned models, `lm_eval:<task>`
    one of the lm-evaluation-harness.
    Raises InputError that names the nearest known one.
    """
    text = str(name)
    if text in TASKS | GLUE:
        return (TASKS | GLUE)[text]
    for suffix, form in _FORMS.items():
        if text.endswith(suffix):
            return form(get(text.removesuffix(suffix)))
    if text.startswith(_HARNESS):
        from tasks.harness import HarnessTask

        return HarnessTask(text.removeprefix(_HARNESS))
    if text.endswith(_FILES):
        from tasks import custom

        task = custom.load(Path(text))
        if task.name in TASKS | GLUE:
            raise InputError(f"{text}: the name {task.name!r} is taken by a task of the package; choose another")
        return task
    raise InputError(f"unknown task {text!r}; {nearest(text, (*NAMES, *GLUE))}; or the path of a .yaml or .jsonl file")
