"""Principal components of dW: two controls of RECT."""

from __future__ import annotations

import torch
from torch import Tensor

from rect.regularizers.base import Weights, matrices, with_provenance
from rect.selection import count
from rect.update import Dense, LowRank, Update


def pca(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """Rebuild dW from its first k% principal components (rows are samples, columns are centred).

    An update of rank 1, such as ROME's, comes back whole.
    """
    entries: dict[str, LowRank | Dense] = {}
    for name, entry in matrices(update, k):
        first = count(k, min(entry.shape))
        if first >= entry.rank:
            entries[name] = entry
            continue
        scores, components, mean = _principal(entry)
        ones = scores.new_ones(scores.shape[0], 1)
        left = torch.cat([scores[:, :first], ones], dim=1)  # (rows, first + 1)
        right = torch.cat([components[:first], mean], dim=0)  # (first + 1, cols)
        entries[name] = LowRank(left, right) if isinstance(entry, LowRank) else Dense(left @ right)
    return with_provenance(entries, update, "pca", k, seed)


def pca_release(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """What the paper's release does: the scores of the first k% components become the first columns of a zero matrix.

    The signs of the components are scikit-learn's: the largest loading of each is positive.
    """
    entries: dict[str, LowRank | Dense] = {}
    for name, entry in matrices(update, k):
        scores = _principal(entry)[0][:, : count(k, min(entry.shape))]  # (rows, c); what is missing has the score 0
        columns = torch.eye(scores.shape[1], entry.shape[1], dtype=scores.dtype, device=scores.device)  # (c, cols)
        low_rank = LowRank(scores, columns)
        entries[name] = low_rank if isinstance(entry, LowRank) else Dense(low_rank.dense())
    return with_provenance(entries, update, "pca-release", k, seed)


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
