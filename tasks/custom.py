"""Tasks without Python: a YAML file (prompt, answer, rule, data), or a JSONL file of prompts and answers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelfolder import yaml_files
from modelfolder.errors import InputError, nearest
from modelfolder.values import shown
from tasks import fields, readers, sources
from tasks.base import Judgement, Task
from tasks.prompts import Template
from tasks.readers import Located
from tasks.records import Data, Example, Examples
from tasks.rules import RULES
from tasks.text import is_number


class Definition(BaseModel):
    """The keys of a task file; docs/add-a-task.md explains each."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    prompt: str = Field(min_length=1)
    answer: str = "answer"
    rule: str
    max_new_tokens: int = Field(default=20, ge=1)
    choices: str | list[Any] | None = None
    passage: str | None = None
    data: str | None = None
    examples: list[Any] | None = None
    version: str | int | float = "1"
    description: str = ""
    licence: str = "not stated"
    citation: str = ""


class CustomTask(Task):
    """A task from a file. Its data comes with it: the source that a sweep names for the other tasks does not matter.

    The version ends in a hash of definition and data: a changed file is another task to every store.
    """

    own = True

    def __init__(self, definition: Definition, records: Sequence[Located], origin: str) -> None:
        if definition.rule not in RULES:
            raise InputError(
                f"{origin}: key 'rule': unknown rule {definition.rule!r}; {nearest(definition.rule, RULES)}"
            )
        self.definition = definition
        self.name = definition.name
        self.max_new_tokens = definition.max_new_tokens
        self.metric = (RULES[definition.rule].__doc__ or "").strip()
        try:
            self.template = Template(definition.prompt, definition.passage)
            self._fixed = _choices(definition.choices, "choices") if isinstance(definition.choices, list) else []
        except InputError as error:
            raise InputError(f"{origin}: {error}") from None
        if definition.rule == "choice" and definition.choices is None:
            raise InputError(f"{origin}: rule 'choice' needs key 'choices': a list, or the field that holds one")
        self._groups = sources.parsed(self, records)
        self.data = Data(
            title=definition.description or f"custom task {definition.name}",
            split="all",
            size=len(self._groups),
            licence=definition.licence,
            citation=definition.citation,
        )
        used = [[(e.id, e.fields, e.gold) for e in group] for group in self._groups.values()]
        whole = json.dumps([definition.model_dump(mode="json", exclude={"examples", "data"}), used], sort_keys=True)
        self._digest = hashlib.sha256(whole.encode()).hexdigest()
        self.version = f"{definition.version}-{self._digest[:8]}"
        self._origin = origin

    def parse(self, record: fields.Record, index: str) -> list[Example]:
        """The fields that the prompt names, the answer (one or a list), the choices. Gold: {"answers", "choices"}."""
        texts = {name: _as_text(_value(record, name), f"field {name!r}") for name in self.template.fields}
        given, choices = _value(record, self.definition.answer), self._fixed
        answers = _listed(given if isinstance(given, list) else [given], f"field {self.definition.answer!r}")
        if isinstance(self.definition.choices, str) and self.definition.choices:
            choices = _choices(_value(record, self.definition.choices), f"field {self.definition.choices!r}")
        if choices and not {a.casefold() for a in answers} & {c.casefold() for c in choices}:
            raise InputError(
                f"field {self.definition.answer!r}: {answers[0]!r} is none of the choices {', '.join(choices)}"
            )
        if self.definition.rule == "number" and not all(map(is_number, answers)):
            raise InputError(f"field {self.definition.answer!r} must be a number, not {answers[0]!r}")
        return [Example(index, texts, {"answers": answers, "choices": choices})]

    def examples(self, source: str | Path = "bundled", limit: int | None = None, seed: int = 0) -> Examples:
        """Drawn from the task's own data, whatever the source."""
        provenance = {"source": "custom", "file": self._origin, "sha256": self._digest}
        return Examples(sources.drawn(self._groups, self.name, limit, seed), provenance)

    def judge(self, output: str, example: Example) -> Judgement:
        score, answered = RULES[self.definition.rule](output, example.gold["answers"], example.gold["choices"])
        return Judgement(score, score, answered)

    def gold_output(self, example: Example) -> str:
        return f" {example.gold['answers'][0]}"

    def choices(self, example: Example) -> list[str]:
        return [f" {choice}" for choice in example.gold["choices"]]

    def gold_choice(self, example: Example) -> int:
        answers = {answer.casefold() for answer in example.gold["answers"]}
        return next(i for i, choice in enumerate(example.gold["choices"]) if choice.casefold() in answers)

    @property
    def has_choices(self) -> bool:
        return bool(self.definition.choices)


def load(path: Path) -> Task:
    """A task from a .yaml or .jsonl file. InputError that names file and key, or file and line."""
    if path.suffix == ".jsonl":
        return _from_jsonl(path)
    content = yaml_files.mapping(path)
    for key in content:
        if key not in Definition.model_fields:
            raise InputError(f"{path}: unknown key {str(key)!r}; {nearest(str(key), Definition.model_fields)}")
    try:
        definition = Definition(**content)
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][0]
        raise InputError(
            f"{path}: key {key!r} is {shown(content[key])}: {first['msg'].lower()}"
            if key in content
            else f"{path}: key {key!r} is missing"
        ) from None
    if (definition.data is None) == (definition.examples is None):
        raise InputError(f"{path}: give either 'data' (a file of records) or 'examples' (the records themselves)")
    if definition.data is not None:
        records = list(readers.read(path.parent / definition.data))
    else:
        records = [(f"{path}, example {i}", record) for i, record in enumerate(definition.examples or [], start=1)]
        for where, record in records:
            if not isinstance(record, dict):
                raise InputError(f"{where}: must be a mapping of fields, not {shown(record)}")
        if not records:
            raise InputError(f"{path}: key 'examples': no records in it")
    return CustomTask(definition, records, str(path))


def _from_jsonl(path: Path) -> Task:
    """Records of "prompt", "answer" (one or a list), maybe "choices". Rule: choice with choices, contains without."""
    records = list(readers.read(path))
    chosen = any("choices" in record for _, record in records)
    try:
        definition = Definition(
            name=path.stem,
            prompt="{prompt}",
            rule="choice" if chosen else "contains",
            choices="choices" if chosen else None,
            passage="prompt",
            data=path.name,
        )
    except ValidationError:
        raise InputError(f"{path}: the file's name becomes the task's: letters, digits, '_', '-', '.' only") from None
    return CustomTask(definition, records, str(path))


def _value(record: fields.Record, name: str) -> Any:
    if name not in record:
        raise InputError(f"field {name!r} is missing; {nearest(name, map(str, record))}")
    return record[name]


def _choices(values: Any, what: str) -> list[str]:
    """At least two texts, of which no two are the same to the rule `choice`."""
    if not isinstance(values, list) or len(values) < 2:
        raise InputError(f"{what} must be a list of at least two choices, not {shown(values)}")
    choices = _listed(values, what)
    folded = [choice.casefold() for choice in choices]
    for place, choice in enumerate(folded):
        if choice in folded[:place]:
            raise InputError(f"{what}: the choice {choices[place]!r} stands twice (case does not count)")
    return choices


def _listed(values: list[Any], what: str) -> list[str]:
    if not values:
        raise InputError(f"{what} is an empty list")
    return [_as_text(value, what) for value in values]


def _as_text(value: Any, what: str) -> str:
    if isinstance(value, bool):
        raise InputError(f"{what} must be text, not true or false: put quotes around (YAML reads yes, no, on, off so)")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{what} must be text, not {shown(value)}")
    return fields.checked(str(value) if isinstance(value, int | float) else value, what)
