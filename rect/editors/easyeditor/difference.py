"""From weights before and after to an update: thin factors where the difference has a small rank."""

from __future__ import annotations

import torch
from torch import Tensor

from rect.update import Dense, LowRank, thin

LARGEST = 128  # rank that is looked for
OVERSAMPLED = 8
ADDITIONS = 4  # after which a weight may have been rounded


def difference(before: Tensor, after: Tensor) -> LowRank | Dense:
    """after - before.

    Both were rounded to their dtype, so what was added with a low rank is a little off it in the difference. It is
    brought back to it where what is left out is below that rounding, |W| eps/2 for each addition. Rows and columns that
    are zero stay so exactly. The rank is found in a random projection (Halko et al. 2011), the same each time.

    Args:
        before, after: a weight (rows, cols), or anything else that has one shape.
    """
    whole = after.double() - before.to(after.device).double()
    if whole.ndim != 2:
        return Dense(whole.float())
    rows, columns = whole.any(1), whole.any(0)
    part = whole[rows][:, columns]
    rounding = ADDITIONS * torch.finfo(after.dtype).eps / 2 * float(after.double().norm())
    allowed = min(rounding, 1e-3 * float(part.norm()))
    size = min(*part.shape, LARGEST + OVERSAMPLED)
    random = torch.randn(part.shape[1], size, dtype=part.dtype, generator=torch.Generator().manual_seed(0)).to(part)
    basis, _ = torch.linalg.qr(part @ (part.T @ (part @ random)))  # (rows, size)
    left, values, right = torch.linalg.svd(basis.T @ part, full_matrices=False)
    missed = max(0.0, float(part.square().sum() - values.square().sum()))
    for rank in range(1, size + 1):
        if not thin(rank, whole.shape):
            break
        if (missed + float(values[rank:].square().sum())) ** 0.5 <= allowed:
            thin_left, thin_right = whole.new_zeros(whole.shape[0], rank), whole.new_zeros(rank, whole.shape[1])
            thin_left[rows] = basis @ (left[:, :rank] * values[:rank])
            thin_right[:, columns] = right[:rank]
            return LowRank(thin_left.float(), thin_right.float())
    return Dense(whole.float())
