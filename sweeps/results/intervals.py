"""How sure a figure is: the one place for its interval and for tests of it. docs/statistics.md explains what they mean.

The unit is the edited model (a seed: its facts, their order, its masks). Over several of them a figure is the mean of
what each gave, and its interval is Student's t over these values. Of one edited model only its own facts or examples
can be drawn anew: that interval says nothing of other edited models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pandas as pd

from sweeps.results import skewed
from sweeps.results.units import Measured, average, difference

LEVEL = 0.95
RESERVE = 0.1
"""A claim of "at least" is held to 5% times 1 - RESERVE / df: edited models may lean to one side, which three of them
do not tell; at plain 5% it was made falsely in up to 7.1% (docs/statistics.md, calibration)."""
UNKNOWN = float("nan")


def _special() -> ModuleType:
    """scipy.special, imported when the first interval is asked for: `status` reads rows and asks for none."""
    from scipy import special

    return special


@dataclass(frozen=True)
class Estimate:
    """A mean over edited models, its standard error (NaN where there is none) and degrees of freedom.

    Attributes:
        models: edited models that the value is taken over.
        units: facts and examples behind it, over all models.
        skew: skewness of the value's error (`sweeps.results.skewed`).
    """

    value: float
    stderr: float
    df: float
    models: int
    units: int
    skew: float = 0.0

    @property
    def low(self) -> float:
        """Lower end of the two-sided interval at `LEVEL`."""
        return self.value - self._reach(1 - (1 - LEVEL) / 2, self.skew)

    @property
    def high(self) -> float:
        return self.value + self._reach(1 - (1 - LEVEL) / 2, -self.skew)

    @property
    def at_least(self) -> float:
        """Lower end of the one-sided interval at `LEVEL`: the claim "at least so much" that the test below shows."""
        return self.value - self._reach(float(claimed(self.df)), self.skew)

    @property
    def at_most(self) -> float:
        return self.value + self._reach(float(claimed(self.df)), -self.skew)

    def p(self, null: float = 0.0) -> float:
        """Two-sided p of "the true value is `null`": below 1 - `LEVEL` where the interval does not hold it."""
        return 2 * float(_special().stdtr(self.df, -abs(self._quantile(null))))

    def p_below(self, bound: float) -> float:
        """One-sided p of "the true value is below `bound`": below 1 - `LEVEL` where "at least `bound`" is shown."""
        found = float(_special().stdtr(self.df, -self._quantile(bound)))
        return min(1.0, found * (1 - LEVEL) / (1 - float(claimed(self.df))))

    def _reach(self, level: float, skew: float) -> float:
        return float(skewed.reach(_special().stdtrit(self.df, level), skew, self.df)) * self.stderr

    def _quantile(self, null: float) -> float:
        return skewed.quantile((self.value - null) / self.stderr, self.skew, self.df)


def claimed(df: np.ndarray | float) -> np.ndarray:
    """The level at which "at least" and "at most" are claimed: `LEVEL`, and a little more where few models tell."""
    return 1 - (1 - LEVEL) * (1 - RESERVE / np.asarray(df, dtype=float))


NONE = Estimate(UNKNOWN, UNKNOWN, UNKNOWN, 0, 0)


def mean(models: Sequence[Measured]) -> Estimate:
    """The mean over edited models, one value each; those without a value are left out.

    Variance: that of the values over their number, and what examples that all models were asked have in common: it does
    not shrink with more models (`shared`). Where several models agree to the last digit, or one is right everywhere,
    see `variance`. How the error of several leans their units tell; of one it is plain t.
    """
    return _mean(models, leans=True)


def paired(pairs: Iterable[tuple[Measured, Measured]]) -> Estimate:
    """The mean over edited models of a figure less its counterpart: two regularizers at one seed.

    Where both are alike the difference leans to no side, so this is plain t: the skewness of a few facts that differ
    would be that of whichever side they happen to be on.
    """
    return _mean([difference(a, b) for a, b in pairs], leans=False)


def _mean(models: Sequence[Measured], leans: bool) -> Estimate:
    known = [one for one in models if not math.isnan(one.value)]
    if not known:
        return NONE
    values = np.array([one.value for one in known])
    units = sum(one.units for one in known)
    square = float(np.mean([one.variance for one in known]))
    spread = float(values.var(ddof=1)) if len(known) > 1 else UNKNOWN
    found, df = (float(x[0]) for x in variance(*(np.array([x]) for x in (spread, len(known), square, units))))
    if len(known) == 1:
        return Estimate(float(values[0]), math.sqrt(found), known[0].df if found == square else df, 1, units)
    found, df = (float(x) for x in together([(found, df), *shared(known)]))
    of = average(known)
    skew = float(skewed.skewness(of.third, of.variance, found)) if leans else 0.0
    return Estimate(float(values.mean()), math.sqrt(found), df, len(known), units, skew)


def variance(
    spread: np.ndarray, models: np.ndarray, square: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of a mean over models and its degrees of freedom, for any number of figures at once.

    Args:
        spread: variance of the models' values, with models - 1.
        models: how many there are.
        square: mean of the models' own squared standard errors, NaN where unknown.
        units: facts or examples behind all of them.

    Returns:
        spread / models with models - 1; for one model `square` with units - 1. Where that is 0 because nothing differs,
        one success and one failure more are taken into account, 2 / (units + 2)^2, at least: twenty of twenty is not
        certainty. NaN where nothing is known.
    """
    models, units = np.asarray(models, dtype=float), np.asarray(units, dtype=float)
    alone = models == 1
    own = np.where(alone, square, spread / np.maximum(models, 1))
    df = np.where(alone, units, models) - 1
    same = own <= 1e-24
    least = np.where(units > 0, 2 / (units + 2) ** 2, np.nan)
    own = np.where(same, np.fmax(np.where(alone, 0.0, square / np.maximum(models, 1)), least), own)
    usable = df > 0
    return np.where(usable, own, np.nan), np.where(usable, df, np.nan)


def bounds(mean: np.ndarray, of: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided intervals at `LEVEL` of means with these variances."""
    half = _special().stdtrit(df, 1 - (1 - LEVEL) / 2) * np.sqrt(of)
    return mean - half, mean + half


def welch(a: Sequence[Measured], b: Sequence[Measured]) -> Estimate:
    """Mean of b minus mean of a, edited models of which none belongs to one of the other side (Welch's t).

    Of one model on either side it is by their own standard errors; of one against several there is no interval, as of
    the one no spread between models is known.
    """
    first, second = mean(a), mean(b)
    if (first.models > 1) != (second.models > 1):
        return Estimate(second.value - first.value, UNKNOWN, UNKNOWN, 1, first.units + second.units)
    squares = first.stderr**2, second.stderr**2
    total, below = sum(squares), squares[0] ** 2 / first.df + squares[1] ** 2 / second.df
    df = total**2 / below if below else UNKNOWN
    models = min(first.models, second.models)
    return Estimate(second.value - first.value, math.sqrt(total), df, models, first.units + second.units)


def holm(p: pd.Series) -> pd.Series:
    """p-values adjusted for their number (Holm 1979): the i-th smallest times (m - i + 1), never decreasing, at most 1.

    NaN stays NaN and is not counted.
    """
    known = p.dropna().sort_values(kind="stable")
    factors = np.arange(len(known), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(known.to_numpy() * factors), 1.0) if len(known) else []
    return pd.Series(adjusted, index=known.index, dtype=float).reindex(p.index)


def shared(models: Sequence[Measured]) -> list[tuple[float, float]]:
    """(variance, degrees of freedom) of what the same units add to the values of all models alike."""
    found = []
    for key, part in models[0].parts.items():
        terms = [one.parts[key].terms for one in models if key in one.parts]
        if part.common and len(terms) == len(models):
            found.append((part.scale * float(in_common(np.stack(terms))), part.df))
    return found


def in_common(terms: np.ndarray) -> np.ndarray:
    """Sum over units of the square of what is common to all models, for any number of figures at once; at least 0.

    A unit's mean over S models has the variance of what is common plus 1 / S of what is each model's own; the latter is
    known from the differences between models, and already in the variance of their values.

    Args:
        terms: (..., models, units).

    Returns:
        (...).
    """
    own = terms.var(-2, ddof=1).sum(-1) / terms.shape[-2]
    return np.maximum((terms.mean(-2) ** 2).sum(-1) - own, 0.0)


def together(parts: Sequence[tuple[np.ndarray | float, np.ndarray | float]]) -> tuple[np.ndarray, np.ndarray]:
    """Sum of independent (variance, degrees of freedom), for any number of figures at once.

    The sum's 1 / df is the mean of all 1 / df_i, weighted by their variances v_i. To first order in 1 / df this weighs
    the quantiles of t as Cochran and Cox (1957) do. Satterthwaite's weights v_i^2 trust a spread of three models that
    came out small by chance: then little of the sum seems to rest on two degrees of freedom, and intervals at 95% cover
    as little as 92.
    """
    total = np.asarray(sum(of for of, _ in parts))
    below = np.asarray(sum(np.divide(of, df) for of, df in parts))
    return total, np.divide(total, below, out=np.full_like(total, np.nan, dtype=float), where=below > 0)
