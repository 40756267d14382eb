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


def mean_of_ratios(ratios: Sequence[tuple[Sequence[float], Sequence[float]]], n: int) -> Score:
    """Mean over T ratios R_t = sum_i(a_it) / sum_i(b_it) that share their units i; ratios with sum(b) = 0 are left out.

    Variance: m / (m - 1) * sum_i u_i^2 with u_i = 1/T * sum_t (a_it - R_t b_it) / sum_j(b_jt), m the number of units.
    """
    if n == 0:
        return Score(math.nan, math.nan, 0)
    defined = [(a, b, math.fsum(b)) for a, b in ratios if math.fsum(b) > 0]
    if not defined:
        return Score(0.0, math.nan, n)
    units = len(defined[0][0])
    values = [math.fsum(a) / total for a, _, total in defined]
    value = math.fsum(values) / len(values)
    if units < 2:
        return Score(value, math.nan, n)
    influences = [
        math.fsum((a[i] - r * b[i]) / total for (a, b, total), r in zip(defined, values, strict=True)) / len(defined)
        for i in range(units)
    ]
    variance = units / (units - 1) * math.fsum(u * u for u in influences)
    return Score(value, math.sqrt(variance), n)
