"""How well an edit took: reliability, generalization, locality (PROTOCOL: the paper's Section 3 and Appendix A).

Two forms, over the same forward passes:

- `token_accuracy` (EasyEdit, the published curves): the share of target tokens that are the argmax under teacher
  forcing; for locality the share of tokens on which the argmax is what it was before editing.
  Where locality prompts have kinds, also of each kind: `locality/Forgetfulness/token_accuracy`.
- `preference` (paper, Appendix A): 1 where the sum of token log-probabilities of the new target is above that of the
  original answer. A fact without an original answer is left out.

One space is put before an answer that does not begin with one. A fact's value is the mean over its prompts of a kind; a
fact without prompts of that kind has none (NaN) and is left out of n.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rect import queries
from rect.exclusive import exclusive
from rect.facts import Fact
from rect.forcing import Query, target_logits

if TYPE_CHECKING:
    from rect.model import EditableModel

RELIABILITY = "reliability/token_accuracy"
RELIABILITY_PREFERENCE = "reliability/preference"
GENERALIZATION = "generalization/token_accuracy"
GENERALIZATION_PREFERENCE = "generalization/preference"
LOCALITY = "locality/token_accuracy"
METRICS = (RELIABILITY, RELIABILITY_PREFERENCE, GENERALIZATION, GENERALIZATION_PREFERENCE, LOCALITY)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A mean over facts, its standard error (NaN for n < 2) and the number of facts that have a value."""

    value: float
    stderr: float
    n: int


@dataclasses.dataclass(frozen=True)
class EditScores:
    """Values per metric and fact, in the order of the facts; NaN where a fact has none.

    Attributes:
        per_fact: by metric, such as `METRICS`.
        over_all: metrics that are one number over all facts.
    """

    per_fact: dict[str, tuple[float, ...]]
    over_all: dict[str, Figure] = dataclasses.field(default_factory=dict)

    def figures(self) -> dict[str, Figure]:
        """Each metric averaged over the facts that have it; a metric that no fact has is left out."""
        known = {metric: [v for v in values if not math.isnan(v)] for metric, values in self.per_fact.items()}
        return {metric: figure(values) for metric, values in known.items() if values} | self.over_all


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Argmax tokens of the unedited model on the locality prompts: per fact, per prompt, per token."""

    tokens: tuple[tuple[tuple[int, ...], ...], ...]


@exclusive
def locality_baseline(model: EditableModel, facts: Sequence[Fact]) -> Baseline:
    """What the model answers now, before it is edited, to the facts' locality prompts.

    The tokens are those at the positions of the prompt's answer under teacher forcing; without an answer the one token
    that follows the prompt.

    Raises:
        InputError: a prompt with its answer is longer than the model's context, or has no tokens; the fact is named.
    """
    asked = [
        [queries.locality_query(model.tokenizer, one.prompt, one.answer) for one in fact.locality] for fact in facts
    ]
    queries.check(model, facts, "locality prompt", asked)
    return Baseline(tuple(tuple(rows) for rows in queries.nested(asked, _argmax(model, queries.flat(asked)))))


@exclusive
def evaluate(model: EditableModel, facts: Sequence[Fact], baseline: Baseline | None = None) -> EditScores:
    """Edit metrics of the model as it stands, over all facts given.

    Args:
        model: edited so far.
        facts: all facts edited so far.
        baseline: `locality_baseline` of the unedited model for the same facts; None leaves locality out.

    Raises:
        InputError: a prompt with its answer is longer than the model's context, or has no tokens; the fact is named.
        ValueError: the baseline was made for other facts.
    """
    prompts = [[fact.filled] for fact in facts]
    rephrased = [list(fact.rephrasings) for fact in facts]
    values: dict[str, list[float]] = {}
    values[RELIABILITY], values[RELIABILITY_PREFERENCE] = _answers(model, facts, prompts, "edit prompt")
    values[GENERALIZATION], values[GENERALIZATION_PREFERENCE] = _answers(model, facts, rephrased, "rephrasing")
    if baseline is not None:
        now = locality_baseline(model, facts).tokens
        shapes = [[[len(prompt) for prompt in fact] for fact in tokens] for tokens in (baseline.tokens, now)]
        if shapes[0] != shapes[1]:
            raise ValueError("the locality baseline was made for other facts")
        unchanged = [
            [_share(was, found) for was, found in zip(before, after, strict=True)]
            for before, after in zip(baseline.tokens, now, strict=True)
        ]
        values[LOCALITY] = [mean(shares) for shares in unchanged]
        for kind in sorted({one.kind for fact in facts for one in fact.locality if one.kind}):
            values[f"locality/{kind}/token_accuracy"] = [
                mean(share for share, one in zip(shares, fact.locality, strict=True) if one.kind == kind)
                for shares, fact in zip(unchanged, facts, strict=True)
            ]
    return EditScores({metric: tuple(found) for metric, found in values.items()})


def _answers(
    model: EditableModel, facts: Sequence[Fact], prompts: Sequence[Sequence[str]], what: str
) -> tuple[list[float], list[float]]:
    """(token accuracy, preference) per fact over its prompts."""
    tokenizer = model.tokenizer
    targets = [
        [queries.query(tokenizer, prompt, fact.target, fact.space) for prompt in rows]
        for fact, rows in zip(facts, prompts, strict=True)
    ]
    originals = [
        [queries.query(tokenizer, prompt, fact.original, fact.space) for prompt in rows] if fact.original else []
        for fact, rows in zip(facts, prompts, strict=True)
    ]
    for asked in (targets, originals):
        queries.check(model, facts, what, asked)
    said = queries.read(model, [*queries.flat(targets), *queries.flat(originals)])
    count = len(queries.flat(targets))
    new, old = queries.nested(targets, said[:count]), queries.nested(originals, said[count:])
    accuracy = [mean(share for share, _ in rows) for rows in new]
    preference = [
        mean(float(mine > other) for (_, mine), (_, other) in zip(a, b, strict=True)) if b else math.nan
        for a, b in zip(new, old, strict=True)
    ]
    return accuracy, preference


def _argmax(model: EditableModel, asked: Sequence[Query]) -> list[tuple[int, ...]]:
    found = {index: tuple(logits.argmax(-1).tolist()) for index, logits in target_logits(model, asked)}
    return [found[index] for index in range(len(asked))]


def _share(was: Sequence[int], found: Sequence[int]) -> float:
    return statistics.fmean(float(a == b) for a, b in zip(was, found, strict=True))


def mean(values: Iterable[float]) -> float:
    """The mean of some values; NaN of none."""
    values = list(values)
    return statistics.fmean(values) if values else math.nan


def figure(values: Sequence[float]) -> Figure:
    """The mean of facts' values with its standard error."""
    n = len(values)
    stderr = statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return Figure(statistics.fmean(values), stderr, n)
