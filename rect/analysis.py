"""What edits do to the weights, element by element and as a whole (Section 4.4, Table 1 and Figure 5 of the paper).

Functions of plain tensors, W before and W after or dW; `trace` follows a sequence of updates with all of them. What a
sweep records at each checkpoint is in `rect.weights`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.exclusive import exclusive
from rect.model import EditableModel
from rect.regularizers import relative_change
from rect.selection import top
from rect.update import Update
from rect.weights import THRESHOLDS, difference, table

PERCENTILES = (80.0, 90.0)
"""Whose means over 100 single ROME edits of GPT-2 XL are the paper's thresholds 0.077 and 0.171."""

PRINCIPAL = 40.0
"""k for which elements count as principal."""


def percentiles(change: Tensor, percents: Sequence[float] = PERCENTILES) -> list[float]:
    """Thresholds from the data: per percentage p an element such that p% of all are at most as large.

    Args:
        change: relative changes, of any shape; infinity is allowed.
        percents: in [0, 100].
    """
    values = change.float().cpu().numpy().reshape(-1)
    return [float(v) for v in np.percentile(values, list(percents), method="inverted_cdf")]


@dataclass(frozen=True)
class Histogram:
    """How many elements have a relative change in each bin.

    Attributes:
        edges: (bins + 1), ascending, equal on the logarithmic scale; a bin holds its lower edge, not its upper.
        counts: (bins,)
        zero: elements that did not change.
        below, above: changed by less than the first edge; by at least the last edge, infinity included.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    zero: int
    below: int
    above: int

    @property
    def total(self) -> int:
        return sum(self.counts) + self.zero + self.below + self.above


def histogram(change: Tensor, bins: int = 60, low: float = 1e-5, high: float = 10.0) -> Histogram:
    """Histogram of relative changes on a logarithmic scale from `low` to `high`.

    Raises:
        InputError: not 0 < low < high, or no bin.
    """
    if not 0 < low < high or bins < 1:
        raise InputError(f"histogram: 0 < low < high and at least one bin are wanted, found {low}, {high}, {bins}")
    values = change.float().cpu().numpy().reshape(-1)
    edges = np.geomspace(low, high, bins + 1)
    place = np.searchsorted(edges, values, side="right")  # 0: below the first edge; bins + 1: at or above the last
    counts = np.bincount(place, minlength=bins + 2)
    zero = int((values == 0).sum())
    inside = tuple(int(n) for n in counts[1:-1])
    return Histogram(tuple(edges.tolist()), inside, zero, int(counts[0]) - zero, int(counts[-1]))


def heat_map(
    change: Tensor, shape: tuple[int, int] = (160, 40), cap: float = 1.0, pool: Literal["mean", "max"] = "mean"
) -> Tensor:
    """The picture of Figure 5: relative changes, cut off at `cap`, pooled to at most `shape`.

    Args:
        change: (rows, cols)
        shape: of the picture; a side is never made longer than the matrix'.
        pool: what becomes of the elements that fall on one point; windows are those of adaptive pooling.

    Returns:
        (min(rows, shape[0]), min(cols, shape[1])) float32 within [0, cap].
    """
    size = min(change.shape[0], shape[0]), min(change.shape[1], shape[1])
    functional = torch.nn.functional
    pooled = functional.adaptive_avg_pool2d if pool == "mean" else functional.adaptive_max_pool2d
    return pooled(change.float().clamp(max=cap)[None], size)[0]


def spectrum(weight: Tensor) -> dict[str, float]:
    """What the singular values s of a matrix say.

    Returns:
        `frobenius`: sqrt(sum s^2); `spectral`: max s; `condition_number`: max s / min s (infinite for a singular
        matrix); `effective_rank`: exp of the entropy of s / sum s (Roy and Vetterli 2007), 0 for a zero matrix.
    """
    s = torch.linalg.svdvals(weight.float()).double()  # (min(rows, cols),)
    largest, smallest, total = float(s[0]), float(s[-1]), float(s.sum())
    p = s[s > 0] / total if total > 0 else s[:0]
    return {
        "frobenius": float(s.square().sum().sqrt()),
        "spectral": largest,
        "condition_number": largest / smallest if smallest > 0 else math.inf,
        "effective_rank": math.exp(-float((p * p.log()).sum())) if len(p) else 0.0,
    }


def overlap(first: Tensor, second: Tensor, k: float = PRINCIPAL) -> float:
    """Share of the principal elements of one edit that are principal in another; k/100 is what chance would give.

    Args:
        first, second: relative changes of two edits of one matrix.
        k: percentage of the elements that counts as principal.
    """
    a, b = top(first.float(), k), top(second.float(), k)
    return float((a & b).sum() / a.sum()) if bool(a.any()) else math.nan


def surviving(before: Tensor, delta: Tensor, dtype: torch.dtype) -> float:
    """Share of the elements with dW != 0 whose weight is another one after rounding to the engine's dtype.

    In bfloat16, with 8 bits of mantissa, a relative change below about 0.2% can vanish. NaN where dW is 0 altogether.
    """
    delta = delta.to(before.device)
    changed = delta != 0
    wide = torch.promote_types(before.dtype, torch.float32)
    after = (before.to(wide) + delta.to(wide)).to(dtype)
    n = int(changed.sum())
    return float(((after != before.to(dtype)) & changed).sum() / n) if n else math.nan


@exclusive
def trace(
    model: EditableModel,
    updates: Iterable[Update],
    checkpoints: Sequence[int] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    k: float = PRINCIPAL,
    dtype: torch.dtype = torch.bfloat16,
) -> list[dict[str, Any]]:
    """Apply updates one after the other and tell what becomes of each matrix. The model is as before afterwards.

    Args:
        model: unedited.
        updates: in the order of editing; may be a generator that computes them on the model as it stands.
        checkpoints: after how many updates; default after each.
        k: percentage of the elements that counts as principal.
        dtype: of an engine.

    Returns:
        one record per checkpoint and matrix: `matrix`, `n_edits`, the entries of `table`; `frobenius`, `spectral`,
        `condition_number`, `effective_rank` of the weights and `<the same>_ratio` to the unedited ones;
        `update_norm` (Frobenius, last operation), `total_norm` (all so far), `overlap` (principal elements shared by
        the last two updates, NaN for the first), `surviving` (of all changes so far, in `dtype`).
    """
    assert not model.changed(), "the model is edited already"
    records: list[dict[str, Any]] = []
    unedited: dict[str, dict[str, float]] = {}
    last: dict[str, Tensor] = {}  # relative changes of the latest update, per matrix
    shared: dict[str, float] = {}
    try:
        for number, update in enumerate(updates, start=1):
            for name in update:
                change = relative_change(update.dense(name), model.weight(name))
                shared[name] = overlap(last[name], change, k) if name in last else math.nan
                last[name] = change
            model.add(update)
            if checkpoints is not None and number not in checkpoints:
                continue
            for name in model.changed():
                before, after = model.original(name), model.weight(name)
                if name not in unedited:
                    unedited[name] = spectrum(before)
                now, moved = spectrum(after), difference(before, after)
                norm = float(torch.linalg.vector_norm(update.dense(name))) if name in update else 0.0
                records.append(
                    {"matrix": name, "n_edits": number}
                    | table(before, after, thresholds)
                    | now
                    | {f"{what}_ratio": value / unedited[name][what] for what, value in now.items()}
                    | {"update_norm": norm, "total_norm": float(torch.linalg.vector_norm(moved))}
                    | {"overlap": shared.get(name, math.nan), "surviving": surviving(before, moved, dtype)}
                )
    finally:
        model.restore()
    return records
