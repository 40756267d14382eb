"""How far the weights have moved from the unedited ones (Table 1 and Figure 5 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rect.model import EditableModel
from rect.regularizers import relative_change

# The 80th and 90th percentile of delta after one ROME edit of GPT-2 XL, means over 100 edits (paper, Section 5).
THRESHOLDS = (0.077, 0.171)


def statistics(model: EditableModel, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, dict[str, float]]:
    """Per changed matrix, against the unedited weights.

    Args:
        model: as it stands now.
        thresholds: of the relative change |dW| / |W|.

    Returns:
        {matrix: {"manhattan": sum |W_edited - W|, "share_over_0.077": ..., ...}}; shares are between 0 and 1.
    """
    result = {}
    for name, edited in model.changed().items():
        base = model.original(name).float()
        delta = edited.float() - base  # (rows, cols)
        change = relative_change(delta, base)
        result[name] = {"manhattan": float(delta.abs().sum(dtype=torch.float64))}
        for threshold in thresholds:
            result[name][f"share_over_{threshold:g}"] = float((change > threshold).sum() / change.numel())
    return result
