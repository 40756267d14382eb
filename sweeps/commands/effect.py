"""What one edit does to its fact, to the weights and to neutral text. `sweeps edit` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rect.facts import Fact
    from rect.model import EditableModel
    from rect.update import Update


@dataclass(frozen=True)
class Request:
    """What `sweeps edit` is asked for: one fact, one method, one regularizer, and where results go."""

    subject: str
    prompt: str
    target: str
    model: str
    method: str = "rome"
    regularizer: str = "none"
    k: float | None = None
    hparams: Path | None = None
    prompts: Path | None = None
    save: str | None = None
    save_update: Path | None = None
    new_tokens: int = 10
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"


@dataclass(frozen=True)
class State:
    """A model at one moment: probability of the target, and continuations of the prompts."""

    probability: float
    continuations: list[str]

    @staticmethod
    def of(model: EditableModel, fact: Fact, prompts: Sequence[str], new_tokens: int) -> State:
        from rect import forcing

        probability, _ = forcing.target_probability(model, fact.filled, fact.target, fact.space)
        return State(probability, [model.complete(prompt, max_new_tokens=new_tokens) for prompt in prompts])


@dataclass(frozen=True)
class Ability:
    """Perplexity of neutral text, and drift from the unedited model in nats."""

    perplexity: float
    drift: float = 0.0


@dataclass(frozen=True)
class Made:
    """An edit and what it does.

    Attributes:
        model: with what was kept of the update.
        prompts: the fact's first; `before` and `after` continue each of them.
        tokens: how many the target has.
        statistics, shares: per changed matrix, how far it moved, and how much of the update was kept.
        neutral, alone, regularized: of the unedited model, with the whole update, and with what was kept of it (None
            without a regularizer).
    """

    request: Request
    model: EditableModel
    raw: Update
    kept: Update
    prompts: Sequence[str]
    tokens: int
    before: State
    after: State
    statistics: Mapping[str, Mapping[str, float]]
    shares: Mapping[str, Mapping[str, float]]
    neutral: Ability
    alone: Ability
    regularized: Ability | None


def make(request: Request, fact: Fact, k: float, more: Sequence[str]) -> Made:
    """Edit a model, and look at it before and after.

    Args:
        request: names of the model, the method and the regularizer, and how it is done.
        fact: the edit.
        k: for the regularizer; 100 for `none`.
        more: prompts to continue besides the fact's.
    """
    from rect import editors, forcing, perplexity, regularizers, weights
    from rect.model import EditableModel
    from sweeps.run.measure import neutral_prompts

    model = EditableModel.load(request.model, device=request.device, dtype=request.dtype)
    editor = editors.create(request.method, model, hparams=request.hparams)
    prompts = [fact.filled, *(prompt for prompt in more if prompt != fact.filled)]
    texts, beginnings = perplexity.neutral_paragraphs(), neutral_prompts()
    before, neutral = State.of(model, fact, prompts, request.new_tokens), perplexity.perplexity(model, texts)[0]
    next_tokens = perplexity.next_token_log_probabilities(model, beginnings)  # (prompts, vocabulary)

    def ability(update: Update) -> Ability:
        with model.edited(update):
            drift = perplexity.drift(next_tokens, model, beginnings)
            return Ability(perplexity.perplexity(model, texts)[0], drift)

    raw = editor.compute(model, [fact])
    alone = ability(raw)
    kept = regularizers.get(request.regularizer)(raw, model, k=k, seed=request.seed)
    regularized = None if request.regularizer == "none" else ability(kept)
    model.add(kept)
    return Made(
        request=request,
        model=model,
        raw=raw,
        kept=kept,
        prompts=prompts,
        tokens=forcing.target_probability(model, fact.filled, fact.target, fact.space)[1],
        before=before,
        after=State.of(model, fact, prompts, request.new_tokens),
        statistics=weights.statistics(model),
        shares=regularizers.shares(raw, kept),
        neutral=Ability(neutral),
        alone=alone,
        regularized=regularized,
    )
