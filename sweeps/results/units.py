"""Figures with what each independent unit adds to their error, so that what is derived from them keeps its own.

A figure is a ratio of sums over units (a mean: all denominators are 1), or a smooth function of such figures. Its error
is the sum of one term per unit (linearization, as in `tasks.scores`). Two figures over the same units, of a regularizer
and its control, of an edited model and the unedited one, are paired by adding their terms unit by unit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

UNKNOWN = float("nan")


@dataclass(frozen=True)
class Part:
    """Terms of one set of units.

    Attributes:
        terms: (units,), their sum is 0; or (1,), a standard error of which no more is known.
        df: degrees of freedom.
        of: what the units are, "facts" or a task: sets of the same are counted once.
        units: how many there are.
        common: whether other edited models have the same units (examples of a task: yes; edited facts: no).
    """

    terms: np.ndarray
    df: float
    of: str
    units: int
    common: bool = False

    @property
    def scale(self) -> float:
        """Takes the sum of squared terms to the variance."""
        return len(self.terms) / (len(self.terms) - 1) if len(self.terms) > 1 else 1.0

    @property
    def variance(self) -> float:
        return self.scale * float((self.terms**2).sum())

    @property
    def third(self) -> float:
        """Third cumulant of the figure's error; 0 where fewer than three units tell it."""
        n = len(self.terms)
        return n**2 / ((n - 1) * (n - 2)) * float((self.terms**3).sum()) if n > 2 else 0.0


@dataclass(frozen=True)
class Measured:
    """A figure of one edited model.

    Attributes:
        parts: by what tells sets of units apart.
    """

    value: float
    parts: Mapping[Hashable, Part] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """How many facts or examples are behind it."""
        largest: dict[str, int] = {}
        for part in self.parts.values():
            largest[part.of] = max(part.units, largest.get(part.of, 0))
        return sum(largest.values())

    @property
    def variance(self) -> float:
        """Over new draws of the units; NaN where a standard error is not known."""
        return sum(part.variance for part in self.parts.values()) if self.parts else UNKNOWN

    @property
    def third(self) -> float:
        """Third cumulant over new draws of the units, as far as it is known."""
        return sum(part.third for part in self.parts.values())

    @property
    def stderr(self) -> float:
        return math.sqrt(self.variance)

    @property
    def df(self) -> float:
        """Degrees of freedom of the variance (Satterthwaite)."""
        below = sum(part.variance**2 / part.df for part in self.parts.values())
        return self.variance**2 / below if below else UNKNOWN


MISSING = Measured(UNKNOWN)


def ratio(above: np.ndarray, below: np.ndarray, key: Hashable, of: str, common: bool = False) -> Measured:
    """sum(a) / sum(b) over units. A unit's term is (a - value b) / sum(b); one unit alone has no standard error."""
    total = float(below.sum())
    if total <= 0:
        return MISSING
    value = float(above.sum()) / total
    units = len(above)
    terms = (above - value * below) / total if units > 1 else np.array([UNKNOWN])
    return Measured(value, {key: Part(terms, max(units - 1, 1), of, units, common)})


def reported(value: float, stderr: float, units: int, key: Hashable, of: str, common: bool = False) -> Measured:
    """A figure of which only its standard error is known."""
    return Measured(value, {key: Part(np.array([stderr]), max(units - 1, 1), of, units, common)})


def combined(value: float, of: Sequence[tuple[float, Measured]]) -> Measured:
    """A smooth function of figures: its value, and (derivative by the figure, the figure) for each.

    Where nothing is known of the error of one of them, nothing is known of the function's.
    """
    parts: dict[Hashable, Part] = {}
    if not all(one.parts for _, one in of):
        return Measured(value)
    for weight, one in of:
        for key, part in one.parts.items():
            before = parts[key].terms if key in parts else 0.0
            parts[key] = replace(part, terms=before + weight * part.terms)
    return Measured(value, parts)


def average(of: Sequence[Measured]) -> Measured:
    """Mean of figures."""
    if not of:
        return MISSING
    return combined(sum(one.value for one in of) / len(of), [(1 / len(of), one) for one in of])


def difference(a: Measured, b: Measured) -> Measured:
    """a - b."""
    return combined(a.value - b.value, [(1, a), (-1, b)])


def margin(a: Measured, b: Measured, share: float) -> Measured:
    """a - share b: above 0 where a is more than that share of b."""
    return combined(a.value - share * b.value, [(1, a), (-share, b)])


def quotient(a: Measured, b: Measured) -> Measured:
    """a / b; missing where b is not above 0."""
    if not b.value > 0:
        return MISSING
    return combined(a.value / b.value, [(1 / b.value, a), (-a.value / b.value**2, b)])
