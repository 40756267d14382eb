"""What a sweep can tell: how wide its intervals will be, and the smallest difference that it would show.

A figure's variance has three sources, which a rehearsal's rows tell apart: edited models differ (`between`), each has
luck of its own with every fact or example (`own`), and some examples are hard for all models alike (`common`). Over S
models with n units each the mean has the variance (between + own / n) / S + common / n.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from sweeps.results import intervals
from sweeps.results.intervals import LEVEL, Estimate
from sweeps.results.units import Measured, difference

POWER = 0.8
POINTS = 2000  # over which the distribution of an estimated error is taken
UNKNOWN = float("nan")


@dataclass(frozen=True)
class Sources:
    """Variances of a figure: between edited models (NaN where one was seen), and per unit of the other two sources."""

    between: float
    own: float
    common: float = 0.0


@dataclass(frozen=True)
class Outlook:
    """What to expect: half the width of the 95% interval, and the smallest difference shown with probability `POWER`.

    With one edited model the half-width is over its own units, and no difference between regularizers is shown.
    """

    half: float
    smallest: float


def sources(models: Sequence[Measured]) -> Sources | None:
    """The variances, from what several edited models gave, or one; None where no units are known.

    A variance between models that comes out below what luck alone would give is 0.
    """
    known = [one for one in models if not math.isnan(one.value) and one.units > 1 and not math.isnan(one.variance)]
    if not known:
        return None
    count = float(np.mean([one.units for one in known]))
    within = float(np.mean([one.variance for one in known]))
    if len(known) == 1:
        return Sources(UNKNOWN, within * count)
    common = min(sum(of for of, _ in intervals.shared(known)), within)
    values = [one.value for one in known]
    between = max(0.0, float(np.var(values, ddof=1)) - (within - common))
    return Sources(between, (within - common) * count, common * count)


def pooled(found: Sequence[Sources | None]) -> Sources | None:
    """Their means; `between` over those that know it."""
    known = [one for one in found if one is not None]
    if not known:
        return None
    between = [one.between for one in known if not math.isnan(one.between)]
    mean = float(np.mean(between)) if between else UNKNOWN
    return Sources(mean, float(np.mean([one.own for one in known])), float(np.mean([one.common for one in known])))


def together(parts: Sequence[tuple[Sources, float]], between: float) -> tuple[Sources, float]:
    """The mean of figures over units of their own, (sources, how many units) each: its sources and all its units.

    Args:
        between: variance of that mean between models.
    """
    units = sum(n for _, n in parts)
    share = units / len(parts) ** 2
    own, common = (share * sum(getattr(one, name) / n for one, n in parts) for name in ("own", "common"))
    return Sources(between, own, common), units


def outlook(level: Sources, change: Sources, seeds: int, units: float) -> Outlook:
    """What to expect of a figure and of differences in it.

    Args:
        level: sources of the figure.
        change: sources of its difference between two regularizers.
        seeds: edited models per regularizer.
        units: facts or examples of each.
    """
    of, df = _variance(level, seeds, units)
    half = float(special.stdtrit(df, (1 + LEVEL) / 2)) * _shrunk(df) * math.sqrt(of)
    if seeds < 2:
        return Outlook(half, UNKNOWN)
    of, df = _variance(change, seeds, units)
    return Outlook(half, needed(df) * math.sqrt(of))


def smallest(found: Estimate) -> float:
    """The smallest difference that rows with this standard error show with probability `POWER`; NaN for one model."""
    return needed(found.df) * found.stderr if found.models > 1 else UNKNOWN


def _variance(of: Sources, seeds: int, units: float) -> tuple[float, float]:
    """Variance of the mean over models and its degrees of freedom."""
    if seeds == 1:
        return (of.own + of.common) / units, max(units - 1, 1.0)
    own, common = (of.between + of.own / units) / seeds, of.common / units
    total, df = intervals.together([(own, seeds - 1), (common, max(units - 1, 1.0))])
    return float(total), float(df) if total > 0 else float(seeds - 1)


def _shrunk(df: float) -> float:
    """Mean of an estimated standard deviation over the true one."""
    return math.sqrt(2 / df) * math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2))


@functools.cache
def needed(df: float) -> float:
    """How many standard errors a true difference must be for the two-sided t-test to show it with `POWER`."""
    if math.isnan(df):
        return UNKNOWN
    edge = float(special.stdtrit(df, (1 + LEVEL) / 2))
    each = (np.arange(POINTS) + 0.5) / POINTS
    errors = edge * np.sqrt(2 * special.gammaincinv(df / 2, each) / df)  # what the estimate has to exceed

    def missing(distance: float) -> float:
        return float(np.mean(special.ndtr(distance - errors) + special.ndtr(-distance - errors))) - POWER

    from scipy import optimize  # half a second, for who reads a report in vain

    return float(optimize.brentq(missing, 0.0, 4 * edge + 4))


def between_pairs(levels: Sequence[dict[int, Measured]]) -> Sources | None:
    """Sources of the difference of two regularizers, over all pairs of `levels`: {seed: figure} each."""
    pairs = itertools.combinations(levels, 2)
    return pooled([sources([difference(a[seed], b[seed]) for seed in a if seed in b]) for a, b in pairs])


def assumed(of: Sources, spread: float, both: bool = False) -> Sources:
    """Sources with a spread (standard deviation) between models in place of one that is not known.

    Args:
        both: of a difference, of which either side has it.
    """
    return of if not math.isnan(of.between) else replace(of, between=spread**2 * (2 if both else 1))


def points(difference: float) -> str:
    """A difference of scores in points of a hundred: "6 points", "0.8 points"."""
    return f"{100 * difference:.2g} points" if difference < 0.1 else f"{100 * difference:.0f} points"
