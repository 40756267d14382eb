"""Regularizers: which part of an edit's update reaches the weights.

Each is a function `(update, model, k, seed) -> Update`; a new one is one function and one line in `REGULARIZERS`, with
a version, which goes up whenever its masks change.
`k` is a percentage, in (0, 100]. Masks are taken per matrix, against the weights that the operation starts from.
RECT is the method of Gu et al., EMNLP 2024; random and PCA are its controls, magnitude is the one it lacks.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rect.errors import InputError
from rect.selection import check_k, count, top
from rect.update import Dense, LowRank, Update, UpdateError


class Weights(Protocol):
    """What a regularizer needs of a model: its weights by name."""

    def weight(self, name: str) -> Tensor: ...


@dataclass(frozen=True)
class Regularizer:
    """A regularizer as it is called, and the version that ids are made of.

    Attributes:
        function: `(update, model, k=100, seed=0) -> Update`.
        version: other masks, another version.
    """

    function: Callable[..., Update]
    version: str

    def __call__(self, update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
        return self.function(update, model, k=k, seed=seed)


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
    return keep_top_many(delta, weight, [k])[0]


def keep_top_many(delta: Tensor, weight: Tensor, ks: Sequence[float]) -> list[Tensor]:
    """`keep_top` for several k in one pass over the matrix."""
    if delta.shape != weight.shape:
        raise InputError(f"the update has shape {tuple(delta.shape)}, the weight {tuple(weight.shape)}")
    delta = delta.to(weight.device)
    if not Dense(delta).is_finite():
        raise UpdateError("the update holds NaN or infinity")
    return [torch.where(mask, delta, 0) for mask in top(relative_change(delta, weight), ks)]


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
    with getattr(model, "lock", contextlib.nullcontext()):  # W without another thread's edit
        return _masked("rect", update, k, seed, lambda name, delta: relative_change(delta, model.weight(name)))


def random(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """Keep a uniformly random k% of the elements. The mask follows from the seed and the matrix' name, nested in k.

    For another mask in each operation pass another seed.
    """
    return _masked("random", update, k, seed, lambda name, delta: _uniform(delta, seed, name))


def magnitude(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """Keep the k% of the elements with the largest |dW|."""
    return _masked("magnitude", update, k, seed, lambda name, delta: delta.float().abs())


def pca(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """Rebuild dW from its first k% principal components (rows are samples, columns are centred).

    An update of rank 1, such as ROME's, comes back whole.
    """
    entries: dict[str, LowRank | Dense] = {}
    for name, entry in _matrices(update, k):
        first = count(k, min(entry.shape))
        if first >= entry.rank:
            entries[name] = entry
            continue
        scores, components, mean = _principal(entry)
        ones = scores.new_ones(scores.shape[0], 1)
        left = torch.cat([scores[:, :first], ones], dim=1)  # (rows, first + 1)
        right = torch.cat([components[:first], mean], dim=0)  # (first + 1, cols)
        entries[name] = LowRank(left, right) if isinstance(entry, LowRank) else Dense(left @ right)
    return _with_provenance(entries, update, "pca", k, seed)


def pca_release(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """What the paper's release does: the scores of the first k% components become the first columns of a zero matrix.

    The signs of the components are scikit-learn's: the largest loading of each is positive.
    """
    entries: dict[str, LowRank | Dense] = {}
    for name, entry in _matrices(update, k):
        scores = _principal(entry)[0][:, : count(k, min(entry.shape))]  # (rows, c); what is missing has the score 0
        columns = torch.eye(scores.shape[1], entry.shape[1], dtype=scores.dtype, device=scores.device)  # (c, cols)
        low_rank = LowRank(scores, columns)
        entries[name] = low_rank if isinstance(entry, LowRank) else Dense(low_rank.dense())
    return _with_provenance(entries, update, "pca-release", k, seed)


REGULARIZERS: dict[str, Regularizer] = {
    "none": Regularizer(none, "1"),
    "rect": Regularizer(rect, "1"),
    "random": Regularizer(random, "1"),
    "pca": Regularizer(pca, "1"),
    "pca-release": Regularizer(pca_release, "1"),
    "magnitude": Regularizer(magnitude, "1"),
}


def get(name: str) -> Regularizer:
    """A regularizer by name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in REGULARIZERS:
        near = difflib.get_close_matches(name, REGULARIZERS, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"regularizer {name!r} is not known{hint}; known: {', '.join(REGULARIZERS)}")
    return REGULARIZERS[name]


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


def _masked(name: str, update: Update, k: float, seed: int, score: Callable[[str, Tensor], Tensor]) -> Update:
    """Keep the k% of each matrix' elements with the largest score (non-negative float32, or int32)."""
    check_k(k)
    update.check_finite()
    if k == 100:
        return update
    entries = {}
    for matrix, entry in update.items():
        delta = entry.matrix if isinstance(entry, Dense) else entry.dense()
        [mask] = top(score(matrix, delta), [k])
        entries[matrix] = Dense(torch.where(mask, delta.to(mask.device), 0))
    return _with_provenance(entries, update, name, k, seed)


def _uniform(delta: Tensor, seed: int, name: str) -> Tensor:
    """Independent uniform numbers, int32 and not negative, in the shape of `delta`: the same on every machine."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw((delta.numel() + 1) // 2)
    bits = raw.astype("<u8", copy=False).view("<u4")[: delta.numel()] >> 1
    return torch.from_numpy(bits.view(np.int32)).reshape(delta.shape).to(delta.device)


def _matrices(update: Update, k: float) -> Iterator[tuple[str, LowRank | Dense]]:
    """The entries of an update that has principal components, checked."""
    check_k(k)
    update.check_finite()
    for name, entry in update.items():
        if len(entry.shape) != 2:
            raise InputError(f"{name} has shape {entry.shape}: only a matrix has principal components")
        yield name, entry


def _principal(entry: LowRank | Dense) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (rows, c), components (c, cols) and column means (1, cols) of a matrix, c at most its rank.

    For factors L R the matrix is never written out: with R^T = Q T (QR), L_centred T^T = U S V, components V Q^T.
    """
    if isinstance(entry, LowRank):
        left, right = entry.left.float(), entry.right.float()
        basis, triangle = torch.linalg.qr(right.T)  # (cols, r), (r, r)
        mean = left.mean(0, keepdim=True) @ right
        u, s, v = torch.linalg.svd((left - left.mean(0)) @ triangle.T, full_matrices=False)
        components = v @ basis.T
    else:
        matrix = entry.dense()
        mean = matrix.mean(0, keepdim=True)
        u, s, components = torch.linalg.svd(matrix - mean, full_matrices=False)
    largest = components.abs().argmax(1, keepdim=True)
    signs = components.gather(1, largest).sign()  # (c, 1)
    return u * (s * signs[:, 0]), components * signs, mean


def _with_provenance(entries: Mapping[str, LowRank | Dense], update: Update, name: str, k: float, seed: int) -> Update:
    return Update(entries, {**update.provenance, "regularizer": {"name": name, "k": k, "seed": seed}})
