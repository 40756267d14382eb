"""What a task is: where its examples come from, how they are asked, how an output is judged."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from modelfolder.errors import InputError
from tasks import chance, fields
from tasks.fields import Record
from tasks.prompts import Template
from tasks.records import Data, Example, Examples
from tasks.scores import Score, mean
from tasks.text import first_of

LIKELIHOOD = "likelihood-2"
"""Of a version in likelihood mode; its number goes up when log-probabilities change (how texts are cut into tokens)."""


@dataclass(frozen=True)
class Judgement:
    """What an output is worth.

    score: by the stricter rule, in [0, 1].
    release: by the rule of the paper's released scripts, which gave the published curves.
    answered: whether the output is an answer at all; a collapsed model shows here first.
    """

    score: float
    release: float
    answered: bool


class Task(ABC):
    """A zero-shot task, greedy decoding, the prompt is the whole input.

    Subclasses set the attributes and write `parse` and `judge`; docs/add-a-task.md walks through one.
    `version` goes up whenever a prompt, a rule or a budget changes: rows of different versions are never mixed.
    """

    name: str
    version: str = "1"
    mode: str = "generate"  # or "likelihood"
    chat: bool = False  # whether prompts go through the tokenizer's chat template
    own: bool = False  # whether the user wrote it: an example that cannot be asked is an error, and not skipped
    max_new_tokens: int
    template: Template
    metric: str
    data: Data
    answers: ClassVar[Mapping[str, str]] = {}  # of a fixed set: each gold, and the continuation that says it

    # Examples -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def parse(self, record: Record, index: str) -> list[Example]:
        """The examples of one record of the source (one; ner: four). Raises InputError that names the field."""

    def examples(self, source: str | Path = "bundled", limit: int | None = None, seed: int = 0) -> Examples:
        """Examples in the order of the source.

        source: "bundled", a directory (or file) with the data, or "hub".
        limit: draw at most so many records (for ner: sentences), None for all. The draw depends on the seed, the task
            and the record's index alone, so that a larger limit only adds to a smaller one.
        Raises InputError for malformed data, with file and line.
        """
        from tasks import sources

        return sources.examples(self, source, limit, seed)

    def on(self, source: str | Path) -> Task:
        """This task as it runs on a source: itself, or another version where the source lacks something."""
        return self

    # Asking ---------------------------------------------------------------------------------------------------------

    def prompt(self, example: Example) -> str:
        """The whole input to the model."""
        return self.template_of(example).fill(example.fields)

    def fit(self, example: Example, count_tokens: Callable[[str], int], max_tokens: int) -> tuple[str, bool]:
        """The prompt in at most `max_tokens` tokens, its passage cut from the left if need be; whether it was cut."""
        return self.template_of(example).fit(example.fields, count_tokens, max_tokens)

    def template_of(self, example: Example) -> Template:
        """The template that an example fills: the task's, unless an example lacks one of its fields."""
        return self.template

    # Scoring generated text -----------------------------------------------------------------------------------------

    @abstractmethod
    def judge(self, output: str, example: Example) -> Judgement:
        """What one output (the continuation alone) is worth."""

    def gold_output(self, example: Example) -> str:
        """An output that is right."""
        return f" {example.gold}"

    def score(self, outputs: Sequence[str], examples: Sequence[Example]) -> dict[str, Score]:
        """`score`, `score_release`, `score_answered` (unanswered ones left out), `answered` (share of answers)."""
        if self.mode == "likelihood":
            raise InputError(
                f"task {self.name!r} is scored by log-probabilities (score_choices), not by generated text"
            )
        return summarize([self.judge(output, example) for output, example in paired(outputs, examples)])

    def counts(self, output: str, example: Example) -> tuple[float, float] | None:
        """What an output adds to the two sums whose ratio is `score`; None where that is the mean of the judgements."""
        return None

    def unit(self, example: Example) -> str:
        """What tells independent units of examples apart: the example itself (ner: its sentence)."""
        return example.id

    # Scoring by likelihood, for tasks with a fixed set of answers ---------------------------------------------------

    @property
    def has_choices(self) -> bool:
        """Whether there is a likelihood mode."""
        return bool(self.answers) or type(self).choices is not Task.choices

    def choices(self, example: Example) -> list[str]:
        """The possible continuations, each with its leading space; InputError if the task has none."""
        if not self.answers:
            raise InputError(f"task {self.name!r} has no fixed set of answers")
        return list(self.answers.values())

    def gold_choice(self, example: Example) -> int:
        """Which of `choices(example)` is right."""
        return list(self.answers).index(example.gold)

    def judge_choice(self, logprobs: Sequence[float], example: Example) -> Judgement:
        """The choice with the highest total log-probability is the answer, the first of equals; none if one is NaN."""
        if len(logprobs) != len(self.choices(example)):
            raise InputError(f"{self.name}: {len(logprobs)} log-probabilities for {len(self.choices(example))} choices")
        answered = not any(math.isnan(value) for value in logprobs)
        best = max(range(len(logprobs)), key=lambda i: logprobs[i])
        right = float(answered and best == self.gold_choice(example))
        return Judgement(right, right, answered)

    def score_choices(self, logprobs: Sequence[Sequence[float]], examples: Sequence[Example]) -> dict[str, Score]:
        """As `score`, without `score_release`: the release has no such mode."""
        scores = summarize([self.judge_choice(values, example) for values, example in paired(logprobs, examples)])
        del scores["score_release"]
        return scores

    def likelihood(self) -> Task:
        """This task in likelihood mode, under a name and version of its own."""
        if not self.has_choices:
            raise InputError(f"task {self.name!r} has no fixed set of answers: no likelihood mode")
        if self.mode == "likelihood":
            return self
        return self.as_form("likelihood", LIKELIHOOD, mode="likelihood")

    def as_form(self, form: str, version: str, **attributes: Any) -> Self:
        """A copy with other attributes, under a name and a version of its own: rows of the two are never mixed."""
        task = copy.copy(self)
        vars(task).update(attributes, version=f"{self.version}-{version}")
        task.name = f"{self.name}:{form}" if form else self.name
        return task

    # What knowing nothing scores ------------------------------------------------------------------------------------

    def chance(self, examples: Sequence[Example]) -> float:
        """`score` of an output that knows nothing of the question (tasks.chance); NaN where that is not known."""
        if not self.has_choices:
            golds = [self.gold_output(example) for example in examples]
            return chance.of_answers(golds, lambda gold: self.score([gold] * len(examples), examples)["score"].value)
        return chance.of_choices([self._worth(example) for example in examples])

    def _worth(self, example: Example) -> dict[str, float]:
        """What each choice scores."""
        choices = self.choices(example)
        if self.mode == "likelihood":
            right = self.gold_choice(example)
            return {choice: float(index == right) for index, choice in enumerate(choices)}
        return {choice: self.judge(choice, example).score for choice in choices}

    # As a message to an instruction-tuned model ---------------------------------------------------------------------

    def in_chat(self) -> Task:
        """This task with each prompt as a user's message in the tokenizer's chat template: name and version of its own.

        The template is the engine's business (`Engine.chat`); `prompt` stays the message alone.
        """
        if self.chat:
            return self
        return self.as_form("chat", "chat", chat=True)


class Labelled(Task):
    """A task whose records hold the fields of its prompt and a `label`, which says the gold.

    An output is right when the first gold that occurs in it is the example's, case folded.

    Attributes:
        labels: {what stands in `label`: the gold that it means}.
    """

    labels: ClassVar[Mapping[str, str]]

    def parse(self, record: Record, index: str) -> list[Example]:
        """The fields that the prompt names, and `label`. Gold: what it means by `labels`."""
        texts = {name: fields.text(record, name) for name in self.template.fields}
        return [Example(index, texts, fields.label(record, "label", self.labels))]

    def judge(self, output: str, example: Example) -> Judgement:
        answer = first_of(output, list(self.answers))
        right = float(answer == example.gold)
        return Judgement(right, right, answer is not None)


def paired(outputs: Sequence[Any], examples: Sequence[Example]) -> list[tuple[Any, Example]]:
    """Outputs with their examples; InputError if their numbers differ."""
    if len(outputs) != len(examples):
        raise InputError(f"{len(outputs)} outputs for {len(examples)} examples: one for each is needed")
    return list(zip(outputs, examples, strict=True))


def summarize(judgements: Sequence[Judgement]) -> dict[str, Score]:
    """Means of the judgements, with n and standard error."""
    return {
        "score": mean(j.score for j in judgements),
        "score_release": mean(j.release for j in judgements),
        "score_answered": mean(j.score for j in judgements if j.answered),
        "answered": mean(j.answered for j in judgements),
    }
