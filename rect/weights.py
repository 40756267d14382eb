"""How far the weights have moved from the unedited ones (Table 1 and Figure 5 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.model import EditableModel
from rect.regularizers import relative_change

# The 80th and 90th percentile of delta after one ROME edit of GPT-2 XL, means over 100 edits (paper, Section 5).
THRESHOLDS = (0.077, 0.171)


def statistics(model: EditableModel, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, dict[str, float]]:
    """`table` of each changed matrix of a model as it stands, against the unedited weights, by name."""
    return {name: table(model.original(name), now, thresholds) for name, now in model.changed().items()}


def table(before: Tensor, after: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, float]:
    """A line of Table 1 for one matrix.

    Args:
        before, after: W unedited and as it is now, of one shape.
        thresholds: of delta = |after - before| / |before|; strictly greater counts.

    Returns:
        {"manhattan": sum |after - before|, "share_over_0.077": between 0 and 1, ...}

    Raises:
        InputError: other shapes.
    """
    delta = difference(before, after)
    change = relative_change(delta, before)
    found = {"manhattan": float(delta.abs().sum(dtype=torch.float64))}
    return found | {f"share_over_{limit:g}": float((change > limit).sum() / change.numel()) for limit in thresholds}


def difference(before: Tensor, after: Tensor) -> Tensor:
    """after - before in float32.

    Raises:
        InputError: other shapes.
    """
    if before.shape != after.shape:
        raise InputError(f"the weights have shapes {tuple(before.shape)} and {tuple(after.shape)}")
    return after.float() - before.float()
