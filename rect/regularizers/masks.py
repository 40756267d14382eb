"""Masks: RECT, its controls, and the elements that they keep."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.regularizers.base import Weights, held, with_provenance
from rect.selection import check_k, top
from rect.update import Dense, Update, UpdateError


def keep_top(delta: Tensor, weight: Tensor, k: float) -> Tensor:
    """RECT on one matrix: keep the k% of dW's elements with the largest relative change, the others become zero.

    The relative change is |dW| / |W|, computed in float32; where W is 0 it is infinite if dW is not 0, and 0 if it is.
    Exactly round(k/100 * numel) elements are kept; of equal ones those with the lowest index (row by row).

    Args:
        delta: dW, of any shape.
        weight: W, of the same shape.
        k: percentage, in (0, 100].

    Returns:
        dW with the other elements set to zero, in its dtype, on the device of `weight`.

    Raises:
        InputError: k out of range, or other shapes.
        UpdateError: dW holds NaN or infinity.
    """
    if delta.shape != weight.shape:
        raise InputError(f"the update has shape {tuple(delta.shape)}, the weight {tuple(weight.shape)}")
    delta = delta.to(weight.device)
    if not Dense(delta).is_finite():
        raise UpdateError("the update holds NaN or infinity")
    return torch.where(top(relative_change(delta, weight), k), delta, 0)


def relative_change(delta: Tensor, weight: Tensor) -> Tensor:
    """|dW| / |W| in float32; where W is 0: infinity if dW is not 0, else 0."""
    change = delta.to(weight.device, torch.float32) / weight.float()
    return change.abs_().nan_to_num_(nan=0.0, posinf=torch.inf)  # only 0/0 is NaN


def none(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """The update as it is."""
    update.check_finite()
    return update


def rect(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """Keep the k% of the elements with the largest relative change |dW| / |W|."""
    with held(model):
        return _masked("rect", update, k, seed, lambda name, delta: relative_change(delta, model.weight(name)))


def random(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """Keep a uniformly random k% of the elements. The mask follows from the seed and the matrix' name, nested in k.

    For another mask in each operation pass another seed.
    """
    return _masked("random", update, k, seed, lambda name, delta: _uniform(delta, seed, name))


def magnitude(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """Keep the k% of the elements with the largest |dW|."""
    return _masked("magnitude", update, k, seed, lambda name, delta: delta.float().abs())


def _masked(name: str, update: Update, k: float, seed: int, score: Callable[[str, Tensor], Tensor]) -> Update:
    """Keep the k% of each matrix' elements with the largest score (non-negative float32, or int32)."""
    check_k(k)
    update.check_finite()
    if k == 100:
        return update
    entries = {}
    for matrix, entry in update.items():
        delta = entry.matrix if isinstance(entry, Dense) else entry.dense()
        mask = top(score(matrix, delta), k)
        entries[matrix] = Dense(torch.where(mask, delta.to(mask.device), 0))
    return with_provenance(entries, update, name, k, seed)


def _uniform(delta: Tensor, seed: int, name: str) -> Tensor:
    """Independent uniform numbers, int32 and not negative, in the shape of `delta`: the same on every machine."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw((delta.numel() + 1) // 2)
    bits = raw.astype("<u8", copy=False).view("<u4")[: delta.numel()] >> 1
    return torch.from_numpy(bits.view(np.int32)).reshape(delta.shape).to(delta.device)


def shares(raw: Update, kept: Update) -> dict[str, dict[str, float]]:
    """How much of an update a regularizer left over, per matrix.

    Returns:
        Per name `share_kept`, elements that are not zero afterwards, of all; and `share_nonzero_kept`, those of them
        that were not zero before, of all that were not (1 where there were none).
    """
    result = {}
    for name in raw:
        before, after = raw.dense(name) != 0, kept.dense(name) != 0
        had, both = int(before.sum()), int((before & after.to(before.device)).sum())
        result[name] = {
            "share_kept": int(after.sum()) / after.numel(),
            "share_nonzero_kept": both / had if had else 1.0,
        }
    return result
