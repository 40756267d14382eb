"""Errors of figures and of what is derived from them, against the jackknife, a bootstrap and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sweeps.results import units
from sweeps.results.measured import balance


def figure(values: np.ndarray, key: str = "e", below: np.ndarray | None = None) -> units.Measured:
    return units.ratio(values, np.ones(len(values)) if below is None else below, key, key, common=True)


def test_a_mean_has_the_textbooks_error() -> None:
    values = np.random.default_rng(0).random(30)
    found = figure(values)
    assert found.value == pytest.approx(values.mean())
    assert found.stderr == pytest.approx(stats.sem(values))
    assert (found.df, found.units) == (29, 30)


def test_a_ratio_and_what_is_made_of_ratios_against_the_bootstrap() -> None:
    """F1 of a sweep's cell over F1 unedited, the sentences paired: drawn anew together."""
    random = np.random.default_rng(1)
    gold = random.integers(1, 6, 400).astype(float)
    hits, before = random.binomial(gold.astype(int), 0.4), random.binomial(gold.astype(int), 0.7)
    edited, unedited = figure(2.0 * hits, below=2 * gold), figure(2.0 * before, below=2 * gold)
    found = units.quotient(edited, unedited)
    assert found.value == pytest.approx(hits.sum() / before.sum())

    def kept(index: np.ndarray) -> float:
        return hits[index].sum() / before[index].sum()

    drawn = stats.bootstrap(
        (np.arange(400),), np.vectorize(kept, signature="(n)->()"), n_resamples=3000, rng=random, method="percentile"
    )
    assert found.stderr == pytest.approx(drawn.standard_error, rel=0.06)
    # Not paired it is another error.
    alone = units.quotient(edited, figure(2.0 * before, "other", 2 * gold))
    assert alone.variance == pytest.approx(
        edited.variance / unedited.value**2 + (edited.value / unedited.value**2) ** 2 * unedited.variance
    )


def test_paired_differences_are_differences_of_pairs() -> None:
    a, b = np.random.default_rng(2).random((2, 25))
    found = units.difference(figure(a), figure(b))
    assert (found.value, found.stderr) == pytest.approx((np.mean(a - b), stats.sem(a - b)))
    assert units.difference(figure(a), figure(a)).stderr == 0.0


@pytest.mark.parametrize(("e", "t"), [(0.8, 0.6), (0.3, 0.9), (0.9, 1.4)])
def test_balance_has_the_slopes_of_its_own_formula(e: float, t: float) -> None:
    """Numerical derivatives; a share of the tasks above 1 counts as 1 and moves nothing."""
    made = balance(units.reported(e, 0.01, 9, "e", "e"), units.reported(t, 0.02, 9, "t", "t"))

    def harmonic(x: float, y: float) -> float:
        x, y = min(x, 1.0), min(y, 1.0)
        return 2 * x * y / (x + y)

    step = 1e-6
    slopes = [
        (harmonic(e + i * step, t + j * step) - harmonic(e - i * step, t - j * step)) / (2 * step)
        for i, j in ((1, 0), (0, 1))
    ]
    assert made.value == pytest.approx(harmonic(e, t))
    assert made.stderr == pytest.approx(math.hypot(0.01 * slopes[0], 0.02 * slopes[1]), rel=1e-4)


def test_what_is_not_known_stays_unknown() -> None:
    whole, unknown = figure(np.array([1.0, 0.0, 1.0])), units.Measured(0.5)
    assert math.isnan(units.average([whole, unknown]).variance)
    assert math.isnan(units.quotient(whole, figure(np.zeros(3))).value)
    assert math.isnan(figure(np.array([1.0])).stderr)  # one example has no spread
    assert math.isnan(units.average([]).value)
    assert math.isnan(balance(units.MISSING, whole).value)


def test_examples_behind_a_figure_are_counted_once_per_task() -> None:
    one, other = figure(np.arange(5.0), "nli"), figure(np.arange(7.0), "ner")
    assert units.average([one, other]).units == 12
    assert units.difference(units.average([one, other]), one).units == 12
