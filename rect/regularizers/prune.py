"""PRUNE (Ma et al., ICLR 2025): large singular values of all that was changed are pulled back to those of W0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.regularizers.base import Weights, held, matrices, with_provenance
from rect.update import Dense, LowRank, Update

ROUNDS = 5


def restrained(values: Tensor, largest: float, base: float) -> Tensor:
    """PRUNE on singular values s: where s >= s0 it is log_a(s) - log_a(s0) + s0, below s0 it is s.

    Args:
        values: s, of any shape.
        largest: s0, the largest singular value of W0.
        base: a > 1; published are e, 2, 1.5 and 1.2.

    Returns:
        In float64. Where s ln(a) < 1 that is *more* than s: the logarithm is steeper than 1 there.
    """
    values = values.double()
    return torch.where(values >= largest, (values / largest).log() / math.log(base) + largest, values)


def prune(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """Restrain the singular values of D = W + dW - W0 above sigma_max(W0), with the base a = 100/k of the logarithm.

    k = 50 is base 2, 36.79 base e, 66.67 base 1.5, 83.33 base 1.2; 100 restrains nothing. As published it is applied
    once, when all edits are made; applied to each operation it restrains what all so far did together. What is
    returned goes from W to W0 + D'. Where no singular value reaches sigma_max(W0) the update comes back as it is.

    Raises:
        InputError: it would make a singular value larger, which can be where sigma_max(W0) < 1 / ln(a).
    """
    entries: dict[str, LowRank | Dense] = {}
    for name, entry in matrices(update, k):
        with held(model):
            original = model.original(name).double()
            before = model.weight(name).double() - original
        entries[name] = entry if k == 100 else _pruned(name, entry, original, before, k)
    return update if k == 100 else with_provenance(entries, update, "prune", k, seed)


def _pruned(name: str, entry: LowRank | Dense, original: Tensor, before: Tensor, k: float) -> LowRank | Dense:
    delta = entry.dense().to(original)
    total = before + delta  # D, (rows, cols)
    if total.norm() < _at_least(original):
        return entry
    largest = torch.linalg.eigvalsh(_gram(original)[0])[-1].sqrt().item()
    gram, on_rows = _gram(total)
    squares, vectors = torch.linalg.eigh(gram)
    values = squares.clamp(min=0).sqrt()
    high = values >= largest
    if not high.any():
        return entry
    values, vectors = values[high], vectors[:, high]
    wanted = restrained(values, largest, 100 / k)
    if bool((wanted > values * (1 + 1e-12)).any()):
        raise InputError(
            f"prune: {name}: the largest singular value of W0 is {largest:.4g}, so that a logarithm of base "
            f"{100 / k:.4g} would raise values above it; k of at most {100 * math.exp(-1 / largest):.4g} restrains them"
        )
    factor = vectors * (wanted / values - 1)  # D' = D + V diag(s'/s - 1) V^T D, on the side that is shorter
    if isinstance(entry, LowRank) and not before.any():
        if on_rows:
            left = entry.left.to(factor)
            return LowRank((left + factor @ (vectors.T @ left)).to(entry.left), entry.right)
        right = entry.right.to(factor)
        return LowRank(entry.left, (right + (right @ vectors) @ factor.T).to(entry.right))
    change = factor @ (vectors.T @ total) if on_rows else (total @ vectors) @ factor.T
    return Dense((delta + change).float())


def _gram(matrix: Tensor) -> tuple[Tensor, bool]:
    """The Gram matrix of the shorter side, whose eigenvalues are the squared singular values, and whether of rows."""
    on_rows = matrix.shape[0] <= matrix.shape[1]
    return matrix @ matrix.T if on_rows else matrix.T @ matrix, on_rows


def _at_least(matrix: Tensor) -> Tensor:
    """A lower bound of the largest singular value, close to it: some rounds of the power method, (,)."""
    vector = matrix[matrix.norm(dim=1).argmax()]
    for _ in range(ROUNDS):
        vector = matrix.T @ (matrix @ (vector / vector.norm().clamp(min=1e-300)))
    return (matrix @ (vector / vector.norm().clamp(min=1e-300))).norm() * (1 - 1e-12)
