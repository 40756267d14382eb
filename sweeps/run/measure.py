"""Measurements of a model as it stands at a checkpoint, as rows: editing, ability on text, weights, tasks."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

import torch

from rect import evaluation, metrics, perplexity
from rect import weights as weight_statistics
from rect.covariance import Covariance
from rect.facts import Fact, Locality, distinct
from rect.model import EditableModel
from sweeps.plan.identity import THRESHOLDS, Exam
from sweeps.run import scoring
from sweeps.store.schema import Row, measurement
from tasks.engines.base import Engine
from tasks.scores import mean, ratio

DRIFT_WORDS = 8
"""Drift is read after the first so many words of each neutral paragraph."""


@contextlib.contextmanager
def in_dtype(model: EditableModel, dtype: str) -> Iterator[None]:
    """Within it, weights are rounded to the engine's dtype where that is lower, so that both sides score one model."""
    lower: torch.dtype = getattr(torch, dtype)
    rounded = [p.data for p in model.hf.parameters() if torch.finfo(p.dtype).bits > torch.finfo(lower).bits]
    before = [p.clone() for p in rounded]
    try:
        for p in rounded:
            p.copy_(p.to(lower))
        yield
    finally:
        for p, kept in zip(rounded, before, strict=True):
            p.copy_(kept)


class Unedited:
    """What the unedited model said, to compare with: filled while it is unedited, kept as long as the model is.

    Attributes:
        said: its answers to an engine's questions, by evaluation and prompt (`sweeps.run.answering`).
    """

    def __init__(self) -> None:
        self.said: dict[str, dict[str, str]] = {}
        self._locality: dict[Locality, tuple[int, ...]] = {}
        self._neutral: torch.Tensor | None = None

    def remember(self, model: EditableModel, facts: Sequence[Fact]) -> None:
        """Ask the unedited model for what later measurements of these facts need."""
        assert not model.changed()
        unknown = [fact for fact in distinct(facts) if not self._locality.keys() >= set(fact.locality)]
        found = evaluation.locality_baseline(model, unknown).tokens if unknown else ()
        for fact, answers in zip(unknown, found, strict=True):
            self._locality.update(zip(fact.locality, answers, strict=True))
        if self._neutral is None:
            self._neutral = perplexity.next_token_log_probabilities(model, neutral_prompts())

    def locality(self, facts: Sequence[Fact]) -> evaluation.Baseline:
        """Answers to the locality prompts of these facts."""
        return evaluation.Baseline(tuple(tuple(self._locality[one] for one in fact.locality) for fact in facts))

    @property
    def neutral(self) -> torch.Tensor:
        """Next-token log-probabilities after the neutral prompts, (prompts, vocabulary)."""
        assert self._neutral is not None
        return self._neutral


def neutral_prompts() -> list[str]:
    """Beginnings of the neutral paragraphs."""
    return [" ".join(text.split()[:DRIFT_WORDS]) for text in perplexity.neutral_paragraphs()]


def editing(model: EditableModel, facts: Sequence[Fact], unedited: Unedited, identity: str) -> list[Row]:
    """Reliability, generalization, locality over all facts edited so far; averaged, and per fact.

    An edit that was made several times counts once, under whichever ids (`rect.facts.distinct`).
    """
    facts = distinct(facts)
    return rows_of(evaluation.evaluate(model, facts, unedited.locality(facts)), identity)


def metric(name: str, model: EditableModel, facts: Sequence[Fact], identity: str) -> list[Row]:
    """One of `rect.metrics` that needs no engine, as `editing`."""
    found = metrics.get(name)
    assert isinstance(found, metrics.Metric)
    return rows_of(found(model, distinct(facts)), identity)


def rows_of(scores: evaluation.EditScores, identity: str) -> list[Row]:
    """Each metric averaged, and per fact."""
    rows = [
        measurement("edit", metric, figure.value, figure.stderr, figure.n, identity)
        for metric, figure in scores.figures().items()
    ]
    for metric, values in scores.per_fact.items():
        rows += [
            measurement("edit", f"{metric}/fact-{index}", value, n=1, evaluation=identity)
            for index, value in enumerate(values)
            if not math.isnan(value)
        ]
    return rows


def text(model: EditableModel, unedited: Unedited, identity: str) -> list[Row]:
    """Perplexity of neutral text and drift of the next-token distribution from the unedited model; also per text.

    Their standard errors are over the texts.
    """
    found = perplexity.log_likelihoods(model, perplexity.neutral_paragraphs())
    surprise = ratio([-value for value, _ in found], [count for _, count in found], n=sum(count for _, count in found))
    prompts = neutral_prompts()
    moved = perplexity.drifts(unedited.neutral, model, prompts).tolist()
    drift, value = mean(moved), _exp(surprise.value)
    rows = [
        measurement("ability", "perplexity", value, value * surprise.stderr, surprise.n, identity),
        measurement("ability", "drift", drift.value, drift.stderr, drift.n, identity),
    ]
    for i, (total, count) in enumerate(found):
        rows.append(measurement("ability", f"perplexity/text-{i}", _exp(-total / count), n=count, evaluation=identity))
    for i, value in enumerate(moved):
        rows.append(measurement("ability", f"drift/text-{i}", value, n=1, evaluation=identity))
    return rows


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def weights(
    model: EditableModel,
    shares: Sequence[Mapping[str, Mapping[str, float]]],
    identity: str,
    covariance: Covariance | None = None,
) -> list[Row]:
    """Per edited matrix: how far it is from the unedited one, and how much of the updates was kept.

    Args:
        model: as it stands.
        shares: per operation so far, per matrix, `rect.regularizers.shares`; their mean is given.
        identity: of this evaluation.
        covariance: of the method, where it has one: then it is told how much of the edits text feels (`leak`).
    """
    rows = []
    for name, figures in weight_statistics.statistics(model, THRESHOLDS, covariance).items():
        rows += [
            measurement("weights", f"{name}/{what}", value, evaluation=identity) for what, value in figures.items()
        ]
    for name in sorted({name for operation in shares for name in operation}):
        of_matrix = [operation[name] for operation in shares if name in operation]
        for what in of_matrix[0]:
            mean = statistics.fmean(share[what] for share in of_matrix)
            rows.append(measurement("weights", f"{name}/{what}", mean, n=len(of_matrix), evaluation=identity))
    return rows


def swap(engine: Engine, model: EditableModel) -> Row:
    """Give an engine the model's changed weights. Returns what that took."""
    began = time.perf_counter()
    engine.load(model.changed())
    return measurement("time", "swapping_seconds", time.perf_counter() - began, n=1)


def tasks(
    engine: Engine, questions: Sequence[Exam], keep_texts: bool = True
) -> Iterator[tuple[list[Row], list[Row], dict[str, Exception]]]:
    """Scores of the tasks as they come, from an engine as it is.

    Yields:
        (rows, outputs, {task that failed: why}), see `sweeps.run.scoring.answers`.
    """
    began = time.perf_counter()
    for some in scoring.answers(engine, questions, keep_texts):
        answered = time.perf_counter()
        rows = [row for one in some for row in one.rows]
        outputs = [row for one in some for row in one.outputs]
        took = measurement("time", "generating_seconds", answered - began, n=len(outputs))
        yield [*rows, took], outputs, {one.one.name: one.failed for one in some if one.failed is not None}
        began = time.perf_counter()
