"""What metrics of a model's own words share: questions to an engine, and figures per fact of what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rect.evaluation import EditScores, mean
from rect.facts import Fact

Chat = Callable[[str], str]  # a user's message -> the model's chat template, up to where the answer begins


@dataclass(frozen=True)
class Question:
    """One prompt of a fact.

    Attributes:
        fact: index among the facts.
        kind: what is asked with it, "reliability", "portability/Reasoning".
        text: as it is put to the model.
        right: answers that count; none where the unedited model's counts, or nothing does.
    """

    fact: int
    kind: str
    text: str
    right: tuple[str, ...] = ()


class Rules(Protocol):
    """What a metric's module says of answers.

    Attributes:
        BUDGET: tokens of an answer, at most.
        SHOWN: figures; the first one that an answer has is its score in the outputs.
        enough: of an answer so far, whether more of it would change no figure; None: never.
    """

    BUDGET: int
    SHOWN: tuple[str, ...]
    enough: Callable[[str], bool] | None

    def judge(self, question: Question, said: str, before: str) -> dict[str, float]:
        """Figures of one answer; `before` is the unedited model's."""
        ...

    def scores(
        self, name: str, facts: Sequence[Fact], questions: Sequence[Question], judged: Sequence[Mapping[str, float]]
    ) -> EditScores:
        """Figures of the facts, from those of each question's answer; `by_kind` where nothing else is wanted."""
        ...


def has_line(said: str) -> bool:
    """Whether a line that is not blank is over."""
    return "\n" in said.lstrip()


def by_kind(
    name: str, facts: Sequence[Fact], questions: Sequence[Question], judged: Sequence[Mapping[str, float]]
) -> EditScores:
    """`<name>/<kind>/<figure>` per fact: the mean over its questions of a kind, NaN where it has none.

    "portability/Reasoning" is also a "portability".

    Args:
        name: of the metric.
        facts: that were asked about.
        judged: figures of each question's answer.
    """
    values: dict[str, list[list[float]]] = {}
    for question, figures in zip(questions, judged, strict=True):
        for kind in dict.fromkeys((question.kind.partition("/")[0], question.kind)):
            for figure, value in figures.items():
                of_facts = values.setdefault(f"{name}/{kind}/{figure}", [[] for _ in facts])
                of_facts[question.fact].append(value)
    return EditScores({metric: tuple(map(mean, of_facts)) for metric, of_facts in values.items()})
