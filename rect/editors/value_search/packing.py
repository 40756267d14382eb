"""Rows of unlike length, packed one behind the other: blocks run over real positions, only attention sees the padding.

torch's attention on CPUs is made for long sequences, and transformers copies each key head for all its query heads.
Here the query heads of a key head stand side by side as further queries, so that nothing is copied, and two plain
products do the rest. The numbers are those of attention "sdpa" up to rounding, gradients included.

On CPUs and in float32 or float64 alone, where the time of a step is that of its positions; elsewhere rows are padded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

NAME = "rect_packed"
DTYPES: tuple[torch.dtype, ...] = (torch.float32, torch.float64)  # in lower ones scores would be rounded, unlike sdpa's


class Packing:
    """Where the positions of some rows lie when there is no padding between them.

    Args:
        lengths: positions of each row.
        steps: positions of each row when it is padded.
        device: of the tensors to be packed.
    """

    def __init__(self, lengths: Sequence[int], steps: int, device: torch.device) -> None:
        self._shape = len(lengths), steps
        places = [row * steps + step for row, length in enumerate(lengths) for step in range(length)]
        self._places = torch.tensor(places, device=device)

    def pack(self, padded: Tensor) -> Tensor:
        """(rows, steps, ...) -> (1, positions, ...)"""
        return padded.flatten(0, 1).index_select(0, self._places)[None]

    def spread(self, packed: Tensor) -> Tensor:
        """(1, positions, ...) -> (rows, steps, ...), zeros behind a row's end."""
        padded = packed.new_zeros(math.prod(self._shape), *packed.shape[2:])
        return padded.index_copy(0, self._places, packed[0]).unflatten(0, self._shape)


def applies(model: PreTrainedModel) -> bool:
    """Whether rows of the model can be packed: not where a family has attention written into its own layers."""
    replaceable = getattr(model, "_supports_attention_backend", False)
    here = model.device.type == "cpu" and model.dtype in DTYPES
    return replaceable and here and model.config._attn_implementation == "sdpa"


@contextlib.contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """While the block runs, the model's blocks take packed rows, where `applies` says so."""
    if not applies(model):
        yield
        return
    config = model.config
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    packing: Packing | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it, without dropout.

    Args:
        module: the attention layer; not looked at.
        query: (1, heads, positions, size); without a packing (rows, heads, queries, size).
        key, value: (rows, key heads, keys, size); heads is a multiple of key heads.
        attention_mask: what is added to the scores, (rows, 1, queries, keys).
        scaling: of the scores; None for 1 / sqrt(size).
        packing: of the queries; keys and values are never packed.

    Returns:
        ((1, positions, heads, size), None); without a packing ((rows, queries, heads, size), None)
    """
    if packing is not None:
        query = packing.spread(query.transpose(1, 2)).transpose(1, 2)
    rows, heads, queries, size = query.shape
    groups, keys = key.shape[1], key.shape[2]
    scaled = query * (size**-0.5 if scaling is None else scaling)
    scores = scaled.reshape(rows, groups, -1, size) @ key.transpose(2, 3)  # (rows, groups, ..., keys)
    scores = scores.view(rows, heads, queries, keys) + attention_mask
    found = scores.softmax(-1).view(rows, groups, -1, keys) @ value
    found = found.view(rows, heads, queries, size).transpose(1, 2)
    return (found if packing is None else packing.pack(found)), None


AttentionInterface.register(NAME, packed_attention)
