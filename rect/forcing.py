"""Teacher forcing: what a model says of given tokens, many prompts at a time, padding never counted.

Rows are padded on the right and sorted by length: what follows a token never reaches it, so padding changes nothing but
the time. The head is applied at the target positions alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rect.prompts import continue_with

if TYPE_CHECKING:
    from rect.model import EditableModel


@dataclasses.dataclass(frozen=True)
class Query:
    """Tokens to be forced: the model reads `prompt` and then `target`, and is asked for each token of `target`."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens that are read: the last one of the target is only asked for."""
        return len(self.prompt) + len(self.target) - 1


@torch.no_grad()
def target_logits(
    model: EditableModel, queries: Sequence[Query], tokens_per_batch: int | None = None
) -> Iterator[tuple[int, Tensor]]:
    """For each query its index and the logits from which each of its target's tokens is predicted.

    Args:
        model: as it stands.
        queries: in any order; results come in another.
        tokens_per_batch: bound of rows x length in one forward pass; default the model's.

    Yields:
        (index, logits), logits (target tokens, vocabulary) in float32.
    """
    for indices in batches([query.length for query in queries], tokens_per_batch or model.tokens_per_batch):
        rows = [queries[i] for i in indices]
        read = [torch.tensor((*row.prompt, *row.target)[:-1], dtype=torch.long) for row in rows]
        ids = pad_sequence(read, batch_first=True).to(model.device)  # (rows, length)
        hidden = model.hf.base_model(ids, use_cache=False).last_hidden_state  # (rows, length, hidden), normed
        for index, states, query in zip(indices, hidden, rows, strict=True):
            yield index, apply_head(model, states[len(query.prompt) - 1 : query.length])


def target_probability(model: EditableModel, prompt: str, target: str, space: bool | None = None) -> tuple[float, int]:
    """Probability of the target after the prompt, and the number of its tokens.

    p = prod_i p(t_i | prompt, t_1 ... t_{i-1}), all from one forward pass.
    """
    ids, targets = continue_with(model.tokenizer, prompt, target, space)
    [(_, logits)] = target_logits(model, [Query(tuple(ids), tuple(targets))])  # (target tokens, vocabulary)
    chosen = logits.log_softmax(-1).gather(1, torch.tensor(targets, device=logits.device)[:, None])
    return math.exp(float(chosen.sum())), len(targets)


def apply_head(model: EditableModel, states: Tensor) -> Tensor:
    """Logits of normed hidden states, (..., hidden) -> (..., vocabulary), float32."""
    logits = model.hf.get_output_embeddings()(states).float()
    cap = getattr(model.hf.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def batches(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, each of at most `tokens_per_batch` with its padding."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
