"""SPHERE (Liu, Gu et al. 2025): dW leaves the directions alone in which the rows of W mostly lie."""

from __future__ import annotations

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.regularizers.base import Weights, held, input_rows, matrices, on_inputs, with_provenance
from rect.update import Dense, LowRank, Update

SHARE = 0.5  # eta


def principal_directions(weight: Tensor, share: float = SHARE) -> Tensor:
    """The directions of the rows of W, each scaled to length 1: eigenvectors of the mean of w w^T.

    Args:
        weight: W, (out, in).
        share: eta, of the trace: the largest eigenvalues are taken until their sum is beyond it.

    Returns:
        U, orthonormal columns, (in, r), in float64.
    """
    rows = weight.double()
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-300)  # a row of zeros stays
    wide = rows.shape[0] < rows.shape[1]
    values, vectors = torch.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    values, vectors = values.flip(0), vectors.flip(1)
    number = min(int((values.cumsum(0) / values.sum() <= share).sum()) + 1, len(values))
    vectors = vectors[:, :number]
    return (rows.T @ vectors) / values[:number].sqrt() if wide else vectors


def sphere(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """dW' = dW (I - alpha U U^T) with alpha = 1 - k/100: k% of dW is left along the `principal_directions` U.

    U is of the weights that the operation starts from, up to half of their trace (eta = 0.5), on the side of a
    matrix' inputs, whichever way it is stored. k = 50 is the alpha published for AlphaEdit, 20 that for MEMIT, PRUNE
    and RECT; 100 leaves dW as it is.
    """
    entries: dict[str, LowRank | Dense] = {}
    for name, entry in matrices(update, k):
        if k == 100:
            continue
        with held(model):
            weight = input_rows(model.weight(name), model)
            if not weight.any():
                raise InputError(f"sphere: {name} is zero: its rows have no direction")
            directions = principal_directions(weight)

        def project(rows: Tensor, u: Tensor = directions) -> Tensor:
            return rows - (1 - k / 100) * (rows @ u.to(rows)) @ u.to(rows).T

        entries[name] = on_inputs(entry, project, model)
    return update if k == 100 else with_provenance(entries, update, "sphere", k, seed)
