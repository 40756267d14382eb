"""Attention of few queries to few keys, in many rows: what each step of an optimization does in every layer.

torch's attention on CPUs is made for long sequences, and transformers copies each key head for all its query heads.
Here the query heads of a key head stand side by side as further queries, so that nothing is copied, and two plain
products do the rest. The numbers are those of attention "sdpa" up to rounding, gradients included.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

NAME = "rect_short"


@contextlib.contextmanager
def short(model: PreTrainedModel) -> Iterator[None]:
    """While the block runs, the model attends this way, if it is on a CPU and attended by "sdpa"."""
    config = model.config
    before = config._attn_implementation
    if before != "sdpa" or model.device.type != "cpu":
        yield
        return
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def short_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; without dropout.

    Args:
        module: the attention layer; not looked at.
        query: (rows, heads, queries, size).
        key, value: (rows, key heads, keys, size); heads is a multiple of key heads.
        attention_mask: what is added to the scores, (rows, 1, queries, keys).
        scaling: of the scores; None for 1 / sqrt(size).

    Returns:
        ((rows, queries, heads, size), None)
    """
    rows, heads, queries, size = query.shape
    groups, keys = key.shape[1], key.shape[2]
    scaled = query * (size**-0.5 if scaling is None else scaling)
    scores = scaled.reshape(rows, groups, -1, size) @ key.transpose(2, 3)  # (rows, groups, ..., keys)
    scores = scores.view(rows, heads, queries, keys) + attention_mask
    found = scores.softmax(-1).view(rows, groups, -1, keys) @ value
    return found.view(rows, heads, queries, size).transpose(1, 2), None


AttentionInterface.register(NAME, short_attention)
