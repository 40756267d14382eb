"""Which elements of a tensor are the largest k%: exactly so many."""

from __future__ import annotations

import torch
from torch import Tensor

from modelfolder.errors import InputError


def check_k(k: float) -> None:
    """Raises InputError unless k is a percentage in (0, 100]."""
    if isinstance(k, bool) or not isinstance(k, (int, float)) or not 0 < k <= 100:
        raise InputError(f"k is {k!r}: it must be a percentage above 0 and at most 100")


def count(k: float, total: int) -> int:
    """round(k/100 * total): how many of `total` elements are k%."""
    return round(k / 100 * total)


def top(scores: Tensor, k: float) -> Tensor:
    """Mask of the largest k% of the elements; of equal ones those with the lowest index (row by row) are taken.

    Args:
        scores: non-negative float32 (infinity included, no NaN) or int32, of any shape.
        k: percentage, in (0, 100].

    Returns:
        A boolean tensor in the shape of `scores`, with exactly round(k/100 * numel) elements set.

    Raises:
        InputError: k out of range.
    """
    check_k(k)
    flat = scores.reshape(-1)
    wanted = count(k, flat.numel())
    if wanted == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = flat.kthvalue(flat.numel() - wanted + 1).values  # the least of them
    mask = flat > threshold
    mask[torch.nonzero(flat == threshold)[: wanted - int(mask.sum()), 0]] = True
    return mask.reshape(scores.shape)
