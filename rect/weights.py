"""How far the weights have moved from the unedited ones (Table 1, Figure 5 of the paper), and what text feels of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.model import EditableModel
from rect.regularizers import relative_change

if TYPE_CHECKING:
    from rect.key_covariance import Covariance

# The 80th and 90th percentile of delta after one ROME edit of GPT-2 XL, means over 100 edits (paper, Section 5).
THRESHOLDS = (0.077, 0.171)


def statistics(
    model: EditableModel, thresholds: Sequence[float] = THRESHOLDS, covariance: Covariance | None = None
) -> dict[str, dict[str, float]]:
    """`table` of each changed matrix of a model as it stands, against the unedited weights, by name.

    With the covariance of the inputs of MLPs' output projections on plain text those that it knows have a `leak` too.
    """
    found = {name: table(model.original(name), now, thresholds) for name, now in model.changed().items()}
    for layer in covariance.layers if covariance is not None else ():
        name = model.mlp_out_name(layer)
        if covariance is not None and name in found:
            delta = difference(model.original(name), model.weight(name))
            found[name]["leak"] = leak(delta.T if model.architecture.transposed else delta, covariance.matrix(layer))
    return found


def table(before: Tensor, after: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, float]:
    """A line of Table 1 for one matrix.

    Args:
        before, after: W unedited and as it is now, of one shape.
        thresholds: of delta = |after - before| / |before|; strictly greater counts.

    Returns:
        {"manhattan": sum |after - before|, "share_over_0.077": between 0 and 1, ..., "frobenius": root of the sum of
        squares}

    Raises:
        InputError: other shapes.
    """
    delta = difference(before, after)
    change = relative_change(delta, before)
    found = {"manhattan": float(delta.abs().sum(dtype=torch.float64))}
    found |= {f"share_over_{limit:g}": float((change > limit).sum() / change.numel()) for limit in thresholds}
    return found | {"frobenius": float(torch.linalg.vector_norm(delta, dtype=torch.float64))}


def leak(delta: Tensor, c: Tensor) -> float:
    """tr(D C D^T) = E |D k|^2: the mean square by which the MLP's output moves on the text that C = E[k k^T] is of.

    Args:
        delta: D, (out, in).
        c: C, (in, in).
    """
    return float(((delta @ c.to(delta)) * delta).sum(dtype=torch.float64))


def difference(before: Tensor, after: Tensor) -> Tensor:
    """after - before in float32.

    Raises:
        InputError: other shapes.
    """
    if before.shape != after.shape:
        raise InputError(f"the weights have shapes {tuple(before.shape)} and {tuple(after.shape)}")
    return after.float() - before.float()
