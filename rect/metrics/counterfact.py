"""CounterFact's own figures (Meng et al. 2022, section 3.4), normalized by length as in the code of AlphaEdit.

With nll the negative log-likelihood *per token* of an answer behind a prompt, and p = exp(-nll):

- efficacy, on the edit prompt: success is nll(original) > nll(target), magnitude p(target) - p(original), accuracy
  whether every token of the target is the argmax;
- paraphrase: the same on the rephrasings;
- specificity, on neighborhood prompts: success is nll(original) < nll(target), magnitude p(original) - p(target),
  accuracy that of the original. It is not `locality`, which asks whether an answer stayed what it was;
- score: the harmonic mean of the three successes, each averaged over the facts that have it.

Neighborhood prompts are those locality prompts of a fact whose answer is its original one. A fact without an original
answer, or without prompts of a kind, has no value there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rect import queries
from rect.evaluation import EditScores, Figure, mean
from rect.exclusive import exclusive
from rect.facts import Fact

if TYPE_CHECKING:
    from rect.model import EditableModel

KINDS = ("efficacy", "paraphrase", "specificity")
WHAT = ("success", "magnitude", "accuracy", "nll_target", "nll_original")
SCORE = "counterfact/score"


@exclusive
def evaluate(model: EditableModel, facts: Sequence[Fact]) -> EditScores:
    """The figures of the model as it stands, over all facts given: `<kind>/<what>` of `KINDS` and `WHAT`, and `SCORE`.

    A fact's value is the mean over its prompts of a kind.

    Raises:
        InputError: a prompt with an answer is longer than the model's context, or has no tokens; the fact is named.
    """
    values: dict[str, tuple[float, ...]] = {}
    for kind in KINDS:
        prompts = [list(_prompts(fact, kind)) if fact.original else [] for fact in facts]
        values |= _of_kind(model, facts, kind, prompts)
    return EditScores(values, {SCORE: found} if (found := _score(values)) else {})


def _prompts(fact: Fact, kind: str) -> Iterator[str]:
    original = (fact.original or "").strip()
    if kind == "efficacy":
        yield fact.filled
    elif kind == "paraphrase":
        yield from fact.rephrasings
    else:
        yield from (one.prompt for one in fact.locality if one.answer and one.answer.strip() == original)


def _of_kind(
    model: EditableModel, facts: Sequence[Fact], kind: str, prompts: Sequence[Sequence[str]]
) -> dict[str, tuple[float, ...]]:
    answers = {"target": [fact.target for fact in facts], "original": [fact.original or "" for fact in facts]}
    nll, right = {}, {}
    for which, texts in answers.items():
        asked = [
            [queries.query(model.tokenizer, prompt, text, fact.space) for prompt in rows]
            for fact, rows, text in zip(facts, prompts, texts, strict=True)
        ]
        queries.check(model, facts, f"{kind} prompt", asked)
        flat = queries.flat(asked)
        said = zip(flat, queries.read(model, flat), strict=True)
        read = queries.nested(asked, [(-total / len(one.target), share == 1) for one, (share, total) in said])
        nll[which] = [[value for value, _ in rows] for rows in read]
        right[which] = [[float(all_right) for _, all_right in rows] for rows in read]
    wanted, other = ("original", "target") if kind == "specificity" else ("target", "original")
    pairs = [list(zip(a, b, strict=True)) for a, b in zip(nll[wanted], nll[other], strict=True)]
    per_prompt = (
        [[float(a < b) for a, b in rows] for rows in pairs],
        [[math.exp(-a) - math.exp(-b) for a, b in rows] for rows in pairs],
        right[wanted],
        nll["target"],
        nll["original"],
    )
    return {f"{kind}/{what}": tuple(map(mean, rows)) for what, rows in zip(WHAT, per_prompt, strict=True)}


def _score(values: dict[str, tuple[float, ...]]) -> Figure | None:
    """The harmonic mean of the three means; None where one is not known. Its n is the least of theirs."""
    known = [[v for v in values[f"{kind}/success"] if not math.isnan(v)] for kind in KINDS]
    if not all(known):
        return None
    return Figure(statistics.harmonic_mean([statistics.fmean(one) for one in known]), math.nan, min(map(len, known)))
