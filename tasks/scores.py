"""Scores with their standard errors.

Every score of this package is a ratio of sums over independent units, sum(a_i) / sum(b_i): for a mean all b_i are 1;
for micro F1 a unit is a sentence, a_i = 2 TP_i and b_i = 2 TP_i + FP_i + FN_i. Its standard error is the delta
method's (linearization of the ratio), which for a mean is exactly sd / sqrt(n), needs no random numbers, and equals
the bootstrap's up to terms of order 1/n.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A score.

    value: in [0, 1]; not a number when n is 0.
    stderr: its standard error; not a number where it is not defined (fewer than two independent units).
    n: how many outputs the value was taken over.
    """

    value: float
    stderr: float
    n: int


def mean(values: Iterable[float]) -> Score:
    """Mean of one value per output, with standard error sd / sqrt(n), sd with n - 1."""
    numbers = [float(value) for value in values]
    return ratio(numbers, [1.0] * len(numbers), n=len(numbers))


def ratio(numerators: Sequence[float], denominators: Sequence[float], n: int) -> Score:
    """sum(a) / sum(b) over independent units, taken over `n` outputs.

    0 / 0 with n > 0 counts as 0, as scikit-learn and seqeval have it (nothing to find and nothing named).
    """
    return mean_of_ratios([(numerators, denominators)], n)


def mean_of_ratios(
    ratios: Sequence[tuple[Sequence[float], Sequence[float]]], n: int, weights: Sequence[float] | None = None
) -> Score:
    """Mean over ratios R_t = sum_i(a_it) / sum_i(b_it) that share their units i; ratios with sum(b) = 0 are left out.

    Each has the weight w_t / sum(w), 1 / T of T where no weights are given. Variance: m / (m - 1) * sum_i u_i^2 with
    u_i = sum_t w_t (a_it - R_t b_it) / sum_j(b_jt) / sum(w), m the number of units.
    """
    if n == 0:
        return Score(math.nan, math.nan, 0)
    given = weights or [1.0] * len(ratios)
    defined = [(a, b, math.fsum(b), w) for (a, b), w in zip(ratios, given, strict=True) if math.fsum(b) > 0]
    if not defined:
        return Score(0.0, math.nan, n)
    units, whole = len(defined[0][0]), math.fsum(w for *_, w in defined)
    values = [math.fsum(a) / total for a, _, total, _ in defined]
    value = math.fsum(w * r for (*_, w), r in zip(defined, values, strict=True)) / whole
    if units < 2:
        return Score(value, math.nan, n)
    influences = [
        math.fsum(w * (a[i] - r * b[i]) / total for (a, b, total, w), r in zip(defined, values, strict=True)) / whole
        for i in range(units)
    ]
    variance = units / (units - 1) * math.fsum(u * u for u in influences)
    return Score(value, math.sqrt(variance), n)
