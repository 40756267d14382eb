"""What one edit does to its fact, to the weights and to neutral text. `sweeps edit` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

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


@dataclass(frozen=True)
class State:
    """A model at one moment: probability of the target, and continuations of the prompts."""

    probability: float
    continuations: list[str]

    @staticmethod
    def of(model: EditableModel, fact: Fact, prompts: Sequence[str], new_tokens: int) -> State:
        from rect import forcing

        probability, _ = forcing.target_probability(model, fact.filled, fact.target)
        return State(probability, [model.complete(prompt, max_new_tokens=new_tokens) for prompt in prompts])


@dataclass(frozen=True)
class Neutral:
    """What the unedited model says of neutral text."""

    perplexity: float
    next_tokens: Tensor  # log-probabilities after the beginnings of the paragraphs, (prompts, vocabulary)

    @staticmethod
    def of(model: EditableModel) -> Neutral:
        from rect import perplexity
        from sweeps.run.measure import neutral_prompts

        value, _ = perplexity.perplexity(model, perplexity.neutral_paragraphs())
        return Neutral(value, perplexity.next_token_log_probabilities(model, neutral_prompts()))


@dataclass(frozen=True)
class Moved:
    """How far an update takes a model: perplexity of neutral text with it, and drift in nats."""

    perplexity: float
    drift: float

    @staticmethod
    def of(model: EditableModel, neutral: Neutral, update: Update) -> Moved:
        from rect import perplexity
        from sweeps.run.measure import neutral_prompts

        with model.edited(update):
            value, _ = perplexity.perplexity(model, perplexity.neutral_paragraphs())
            return Moved(value, perplexity.drift(neutral.next_tokens, model, neutral_prompts()))


@dataclass(frozen=True)
class Made:
    """An edit and what it does.

    Attributes:
        model: with what was kept of the update.
        prompts: the fact's first; `before` and `after` continue each of them.
        tokens: how many the target has.
        statistics, shares: per changed matrix, how far it moved, and how much of the update was kept.
        alone, regularized: what the whole update does to neutral text, and what was kept of it does (None without a
            regularizer).
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
    neutral: Neutral
    alone: Moved
    regularized: Moved | None


def make(
    request: Request,
    fact: Fact,
    k: float,
    more: Sequence[str],
    *,
    new_tokens: int,
    seed: int,
    dtype: str,
    device: str,
) -> Made:
    """Edit a model, and look at it before and after.

    Args:
        request: names of the model, the method and the regularizer.
        fact: the edit.
        k: for the regularizer; 100 for `none`.
        more: prompts to continue besides the fact's.
        new_tokens, seed, dtype, device: as `sweeps edit` has them.
    """
    from rect import editors, forcing, regularizers, weights
    from rect.model import EditableModel

    model = EditableModel.load(request.model, device=device, dtype=dtype)
    editor = editors.create(request.method, model, hparams=request.hparams)
    prompts = [fact.filled, *(prompt for prompt in more if prompt != fact.filled)]
    before, neutral = State.of(model, fact, prompts, new_tokens), Neutral.of(model)
    raw = editor.compute(model, [fact])
    alone = Moved.of(model, neutral, raw)
    kept = regularizers.get(request.regularizer)(raw, model, k=k, seed=seed)
    regularized = None if request.regularizer == "none" else Moved.of(model, neutral, kept)
    model.add(kept)
    return Made(
        request=request,
        model=model,
        raw=raw,
        kept=kept,
        prompts=prompts,
        tokens=forcing.target_probability(model, fact.filled, fact.target)[1],
        before=before,
        after=State.of(model, fact, prompts, new_tokens),
        statistics=weights.statistics(model),
        shares=regularizers.shares(raw, kept),
        neutral=neutral,
        alone=alone,
        regularized=regularized,
    )
