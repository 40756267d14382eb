"""Student's t for a mean whose error leans to one side: bounds that are moved after Johnson (1978) and Hall (1992).

A mean that leans to the right is high where its estimated variance is: with the skewness k of its error z, t is about
(z - k (1 + 2 z^2) / 6) / sqrt(u), u the estimated over the true variance. Given a quantile q of t with few degrees of
freedom z^2 is about q^2 (df + 1) / (df + q^2) (a large t comes of a small u), and 1 / sqrt(u) is q / z. Hall's inverse,
3 / k ((1 + k (z - k / 6))^(1/3) - 1), is the same to first order and never turns back.
"""

from __future__ import annotations

import numpy as np

Numbers = np.ndarray | float

MOST = 0.4
"""The largest skewness that is reckoned with: that of six failures. Of fewer it is itself not known."""

LITTLE = 1e-7  # below which nothing is moved


def skewness(third: Numbers, own: Numbers, of: Numbers) -> np.ndarray:
    """Skewness of a mean's error, at most `MOST` either way; 0 where it is not known.

    Args:
        third: its third cumulant, as its units tell it.
        own: its variance, as they tell it: the least that it can be.
        of: its variance, as estimated.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.asarray(third) / np.fmax(of, own) ** 1.5
    return np.nan_to_num(np.clip(found, -MOST, MOST), nan=0.0)


def reach(quantile: Numbers, skew: Numbers, df: Numbers) -> np.ndarray:
    """How many standard errors below its value a mean's one-sided bound lies; `quantile` where it leans to no side.

    A bound above lies `reach(quantile, -skew, df)` above.
    """
    skew = np.where(np.abs(skew) < LITTLE, LITTLE, skew)
    wide = np.sqrt((df + np.square(quantile)) / (df + 1))
    return wide * 3 / skew * (np.cbrt(1 + skew * (quantile / wide - skew / 6)) - 1)


def quantile(distance: float, skew: float, df: float) -> float:
    """The quantile of t whose `reach` is this distance."""
    if abs(skew) < LITTLE or not np.isfinite(distance):
        return distance
    from scipy import optimize  # half a second, for who only looks at rows

    ends = distance - 1.0, distance + 1.0
    while (reach(ends[0], skew, df) - distance) * (reach(ends[1], skew, df) - distance) > 0:
        ends = ends[0] - (ends[1] - ends[0]), ends[1] + (ends[1] - ends[0])
    return float(optimize.brentq(lambda value: float(reach(value, skew, df)) - distance, *ends))
