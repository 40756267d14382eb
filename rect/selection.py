"""Which elements of a tensor are the largest k%: exact, in two passes, for several k at once.

The bits of non-negative float32 numbers order like int32 numbers. So a histogram of the high 16 bits, and one of the
low 16 bits within the bucket where a count falls, give the exact threshold without sorting anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modelfolder.errors import InputError

CHUNK = 1 << 18  # elements per step: small enough for a cache


def check_k(k: float) -> None:
    """Raises InputError unless k is a percentage in (0, 100]."""
    if isinstance(k, bool) or not isinstance(k, (int, float)) or not 0 < k <= 100:
        raise InputError(f"k is {k!r}: it must be a percentage above 0 and at most 100")


def count(k: float, total: int) -> int:
    """round(k/100 * total): how many of `total` elements are k%."""
    return round(k / 100 * total)


def top(scores: Tensor, ks: Sequence[float]) -> list[Tensor]:
    """Masks of the largest k% of the elements; of equal ones those with the lowest index (row by row) are taken.

    Args:
        scores: non-negative float32 (infinity included, no NaN) or int32, of any shape.
        ks: percentages, in (0, 100].

    Returns:
        A boolean tensor per k, in the shape of `scores`, with exactly round(k/100 * numel) elements set.

    Raises:
        InputError: a k out of range.
    """
    for k in ks:
        check_k(k)
    bits = scores.contiguous().view(torch.int32).reshape(-1)
    high = _histogram([chunk >> 16 for chunk in bits.split(CHUNK)], 1 << 15)
    return [_largest(bits, count(k, bits.numel()), high).reshape(scores.shape) for k in ks]


def _largest(bits: Tensor, wanted: int, high: Tensor) -> Tensor:
    """Mask of the `wanted` largest of `bits` (elements,); `high` is the histogram of their high 16 bits."""
    if wanted == 0:
        return torch.zeros_like(bits, dtype=torch.bool)
    bucket, wanted_inside = _bucket(high, wanted)
    inside = [chunk[(chunk >> 16) == bucket] & 0xFFFF for chunk in bits.split(CHUNK)]
    low = _histogram(inside, 1 << 16)
    value, wanted_equal = _bucket(low, wanted_inside)
    threshold = bucket << 16 | value
    if wanted_equal == int(low[value]):
        return bits >= threshold
    mask = bits > threshold
    mask[torch.nonzero(bits == threshold)[:wanted_equal, 0]] = True
    return mask


def _bucket(histogram: Tensor, wanted: int) -> tuple[int, int]:
    """The bucket in which the `wanted`-th largest element lies, and how many of the bucket's elements are wanted."""
    from_top = histogram.flip(0).cumsum(0)
    position = int(torch.searchsorted(from_top, wanted))
    bucket = histogram.numel() - 1 - position
    return bucket, wanted - int(from_top[position] - histogram[bucket])


def _histogram(chunks: Sequence[Tensor], buckets: int) -> Tensor:
    """Number of elements per bucket, (buckets,)."""
    total = torch.zeros(buckets, dtype=torch.int64, device=chunks[0].device)
    for chunk in chunks:
        total += torch.bincount(chunk, minlength=buckets)
    return total
