"""Is a paired difference more than chance? A bootstrap interval of its mean, and a test that flips signs.

Equal differences are counted together, so a thousand examples that are right or wrong cost no more than three.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

DRAWS = 5000
EXACT = 12  # up to so many differences other than 0 all flips are gone through
UNKNOWN = float("nan")


@dataclass(frozen=True)
class Difference:
    """A mean difference over `n` pairs, its 95% interval, and the two-sided p of "signs are arbitrary".

    Interval and p are NaN for fewer than two pairs.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int


NONE = Difference(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0)


def paired(differences: Iterable[float], draws: int = DRAWS, seed: int = 0) -> Difference:
    """Mean of the differences (NaN left out), percentiles 2.5 and 97.5 of its bootstrap, and the sign-flip test's p.

    Under the hypothesis that both sides are exchangeable within each pair, every sign is as likely as its opposite:
    p is the share of sign patterns whose mean is at least as far from 0 as the one found (Fisher's randomization test).
    """
    values = np.asarray(list(differences), dtype=float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return NONE
    mean = float(values.mean())
    if n == 1:
        return Difference(mean, UNKNOWN, UNKNOWN, UNKNOWN, 1)
    random = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    if 2 * len(distinct) < n:
        means = random.multinomial(n, counts / n, size=draws) @ distinct / n  # (draws,)
    else:  # hardly any are equal: drawing them one by one is quicker
        means = values[random.integers(0, n, size=(draws, n))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Difference(mean, float(low), float(high), _flipped(values, draws, random), n)


def _flipped(values: np.ndarray, draws: int, random: np.random.Generator) -> float:
    """p of the sign-flip test, exact for few differences, else over random flips (the pattern found counts as one)."""
    sizes = np.abs(values[values != 0])
    found = abs(float(values.sum())) * (1 - 1e-12)  # sums in another order differ in the last bit
    if len(sizes) <= EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(sizes))))
        return float((np.abs(signs @ sizes) >= found).mean()) if len(sizes) else 1.0
    distinct, counts = np.unique(sizes, return_counts=True)
    up = random.binomial(counts, 0.5, size=(draws, len(counts)))  # how many of each size come out positive
    sums = (2 * up - counts) @ distinct
    return float((1 + (np.abs(sums) >= found).sum()) / (1 + draws))


def unpaired(a: float, error_a: float, b: float, error_b: float) -> Difference:
    """b - a of two independent means with their standard errors: normal interval and p; NaN where an error is."""
    mean, error = b - a, math.hypot(error_a, error_b)
    if math.isnan(error) or error == 0:
        return Difference(mean, UNKNOWN, UNKNOWN, UNKNOWN, 0)
    p = math.erfc(abs(mean) / error / math.sqrt(2))
    return Difference(mean, mean - 1.96 * error, mean + 1.96 * error, p, 0)


def holm(p: pd.Series) -> pd.Series:
    """p-values adjusted for their number (Holm 1979): the i-th smallest times (m - i + 1), never decreasing, at most 1.

    NaN stays NaN and is not counted.
    """
    known = p.dropna().sort_values(kind="stable")
    factors = np.arange(len(known), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(known.to_numpy() * factors), 1.0) if len(known) else []
    return pd.Series(adjusted, index=known.index, dtype=float).reindex(p.index)
