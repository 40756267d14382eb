"""General ability on the model itself: perplexity of plain text, and drift from the unedited model.

Both are continuous and move long before the accuracy of a task does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.exclusive import exclusive
from rect.forcing import Query, target_logits
from rect.lengths import check_length, context
from rect.prompts import encode

if TYPE_CHECKING:
    from rect.model import EditableModel

WINDOW = 256


def neutral_paragraphs() -> list[str]:
    """Short encyclopedic paragraphs, written for this project, that no bundled fact speaks of."""
    text = resources.files("rect").joinpath("data/neutral.txt").read_text(encoding="utf-8")
    return [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]


def perplexity(model: EditableModel, texts: Sequence[str], window: int | None = None) -> tuple[float, int]:
    """exp of the mean negative log-likelihood of all tokens of all texts, each counted once.

    Args, Raises: as `log_likelihoods`.

    Returns:
        (perplexity, number of tokens asked for)
    """
    found = log_likelihoods(model, texts, window)
    total, tokens = sum(value for value, _ in found), sum(count for _, count in found)
    return math.exp(min(-total / tokens, 700.0)), tokens


@exclusive
def log_likelihoods(model: EditableModel, texts: Sequence[str], window: int | None = None) -> list[tuple[float, int]]:
    """Per text the log-likelihood of all its tokens, each counted once, and how many they are.

    A text is cut into windows, each of which begins with what the tokenizer puts before a text. Where that is nothing,
    a window begins with the last token of the one before it, and the text's very first token is read and not asked for.

    Args:
        model: as it stands.
        texts: plain texts.
        window: tokens in a window at most, its beginning among them; None: `WINDOW`, or the model's context where that
            is shorter.

    Raises:
        InputError: the texts hold no token to ask for, or the window is longer than the model's context.
    """
    if window is None:
        window = min(WINDOW, context(model.hf.config) or WINDOW)
    check_length(model, window, "perplexity: a window")
    parts = [(i, query) for i, text in enumerate(texts) for query in _windows(model.tokenizer, text, window)]
    if not any(query.target for _, query in parts):
        raise InputError("perplexity: the texts are too short: two tokens or more are needed")
    totals, tokens = [0.0] * len(texts), [0] * len(texts)
    for index, logits in target_logits(model, [query for _, query in parts]):
        of, query = parts[index]
        target = torch.tensor(query.target, device=logits.device)
        totals[of] += float(torch.log_softmax(logits, -1).gather(1, target[:, None]).double().sum())
        tokens[of] += len(query.target)
    return list(zip(totals, tokens, strict=True))


def _windows(tokenizer: Any, text: str, window: int) -> Iterator[Query]:
    begin = encode(tokenizer, "")
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    context, asked = (begin, ids) if begin else (ids[:1], ids[1:])
    step = window - max(len(context), 1)
    if step < 1:
        raise InputError(f"perplexity: a window of {window} token{'s' * (window != 1)} leaves none to ask for")
    for start in range(0, len(asked), step):
        yield Query(tuple(context), tuple(asked[start : start + step]))
        context = begin or asked[start + step - 1 : start + step]


@exclusive
def next_token_log_probabilities(model: EditableModel, prompts: Sequence[str]) -> Tensor:
    """Log-probabilities of the token that follows each prompt, (prompts, vocabulary), float32, on the CPU.

    Raises:
        InputError: a prompt has no tokens, or more than the model's context.
    """
    queries = [Query(tuple(encode(model.tokenizer, prompt)), (0,)) for prompt in prompts]
    for prompt, query in zip(prompts, queries, strict=True):
        check_length(model, len(query.prompt), f"prompt {prompt[:80]!r}")
    found = {index: torch.log_softmax(logits[0], -1).cpu() for index, logits in target_logits(model, queries)}
    return torch.stack([found[index] for index in range(len(queries))])


def drift(before: Tensor, model: EditableModel, prompts: Sequence[str]) -> float:
    """Mean over prompts of `drifts`."""
    return float(drifts(before, model, prompts).mean())


def drifts(before: Tensor, model: EditableModel, prompts: Sequence[str]) -> Tensor:
    """KL(unedited || now) of the next-token distribution after each prompt, all of the vocabulary, in nats: (prompts,).

    Args:
        before: `next_token_log_probabilities` of the unedited model.
        model: as it stands now.
        prompts: the same prompts, in the same order.
    """
    now = next_token_log_probabilities(model, prompts).double()
    before = before.double()
    return (before.exp() * (before - now)).sum(-1).clamp(min=0.0)
