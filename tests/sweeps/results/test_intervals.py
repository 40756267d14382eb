"""Intervals and tests over edited models, against scipy's and against counting."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweeps.results import intervals, units


def models(*values: float) -> list[units.Measured]:
    return [units.Measured(value) for value in values]


def test_over_models_it_is_students_t() -> None:
    values = 0.8, 0.7, 0.9, 0.85
    found, theirs = intervals.mean(models(*values)), stats.ttest_1samp(values, 0.75)
    low, high = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p(0.75) == pytest.approx(theirs.pvalue)
    assert (found.models, found.df) == (4, 3)


def test_non_inferiority_is_one_sided_and_agrees_with_its_bound() -> None:
    values = 0.97, 0.99, 0.96
    found = intervals.mean(models(*values))
    plain = stats.ttest_1samp(values, 0.94, alternative="greater").pvalue
    assert found.p_below(0.94) == pytest.approx(plain / 0.95)  # a little more careful: 5% (1 - 0.1 / df), df = 2
    assert found.p_below(0.99) < found.p_below(0.995) <= 1
    assert found.p_below(found.at_least) == pytest.approx(0.05)
    assert found.p_below(0.9) < 0.05 < found.p_below(0.96)
    # No significant difference from 1 is no proof of it: here nothing is shown, either way.
    vague = intervals.mean(models(1.2, 0.8, 0.7))
    assert vague.p(1.0) > 0.05
    assert vague.p_below(0.94) > 0.05


def test_one_model_has_the_interval_of_its_examples() -> None:
    values = np.random.default_rng(0).random(40)
    found = intervals.mean([units.ratio(values, np.ones(40), "e", "nli", common=True)])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.models, found.units) == (1, 40)


def test_missing_values_are_left_out_and_nothing_else() -> None:
    found, without = intervals.mean(models(0.5, math.nan, 0.7)), intervals.mean(models(0.5, 0.7))
    assert (found.models, found.low) == (2, without.low)
    assert intervals.mean(models(math.nan)) is intervals.NONE
    alone = intervals.mean(models(0.5))
    assert (alone.value, alone.models) == (0.5, 1)
    assert math.isnan(alone.low)
    assert math.isnan(alone.p())


def test_all_right_is_not_certain() -> None:
    """Twenty facts of twenty in each of three models: an interval all the same, narrower with more facts."""
    halves = []
    for facts in (20, 200):
        one = units.ratio(np.ones(facts), np.ones(facts), "f", "facts")
        found = intervals.mean([one, one, one])
        assert found.low < 1.0 < found.high
        halves.append(found.high - found.low)
    assert halves[1] < halves[0] / 5
    assert intervals.mean([units.difference(one, one)] * 3).p() == 1.0
    assert math.isnan(intervals.mean(models(1.0, 1.0)).low)  # of how many is not known


def test_examples_that_all_models_share_do_not_shrink_with_models() -> None:
    """Every model gets the same examples right: of other examples a hundred models know no more than one."""
    right = (np.arange(60) < 40).astype(float)
    one = units.ratio(right, np.ones(60), "e", "nli", common=True)
    found = intervals.mean([one] * 100)
    assert found.stderr == pytest.approx(one.stderr, rel=0.01)
    own = units.ratio(right, np.ones(60), "f", "facts")  # facts are each model's own
    assert intervals.mean([own] * 100).stderr < one.stderr / 5


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_both_kinds_of_spread_are_found(shared: float) -> None:
    """Models and examples crossed: the standard error, squared, is right on average."""
    random = np.random.default_rng(3)
    of, squares, size, count = [], [], 40, 5
    for _ in range(400):
        difficulty = random.normal(0, shared, size)
        table = 0.5 + random.normal(0, 0.1, (count, 1)) + difficulty + random.normal(0, 0.4, (count, size))
        found = intervals.mean([units.ratio(line, np.ones(size), "e", "nli", common=True) for line in table])
        of.append(found.value)
        squares.append(found.stderr**2)
    assert np.mean(squares) == pytest.approx(np.var(of), rel=0.2)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("models", [3, 5])
def test_a_sum_of_two_variances_covers(models: int, share: float) -> None:
    """Normal values of few models, and examples that all of them share: `share` of the variance is the models'."""
    random, runs = np.random.default_rng(5), 40_000
    own = share * random.chisquare(models - 1, runs) / (models - 1)
    of, df = intervals.together([(own, models - 1), ((1 - share) * random.chisquare(99, runs) / 99, 99)])
    low, high = intervals.bounds(random.standard_normal(runs), of, df)
    assert 0.94 < np.mean((low <= 0) & (high >= 0)) < 0.97


def test_one_variance_keeps_its_degrees_of_freedom() -> None:
    of, df = intervals.together([(2.0, 4.0), (0.0, 99.0)])
    assert (float(of), float(df)) == (2.0, 4.0)
    of, df = intervals.together([(3.0, 2.0), (1.0, 10.0)])
    assert (float(of), float(df)) == pytest.approx((4.0, 1 / (0.75 / 2 + 0.25 / 10)))
    assert math.isnan(intervals.together([(math.nan, math.nan), (1.0, 10.0)])[0])


def test_welch_is_scipys_and_one_against_many_has_no_interval() -> None:
    a, b = (0.5, 0.6, 0.55), (0.7, 0.72, 0.8, 0.9)
    found = intervals.welch(models(*a), models(*b))
    theirs = stats.ttest_ind(b, a, equal_var=False)
    assert found.p() == pytest.approx(theirs.pvalue)
    assert found.low == pytest.approx(theirs.confidence_interval(0.95).low)
    lone = intervals.welch([units.reported(0.5, 0.1, 10, "x", "nli")], models(*b))
    assert lone.value == pytest.approx(0.28)
    assert math.isnan(lone.low)


def test_many_at_once_are_as_one_by_one() -> None:
    spread = np.array([0.01, np.nan, 0.0, np.nan])
    of, df = intervals.variance(
        spread, np.array([3, 1, 3, 1]), np.array([np.nan, 0.004, 0.0, np.nan]), np.array([60, 20, 60, 0])
    )
    assert list(of[:3]) == pytest.approx([0.01 / 3, 0.004, 2 / 62**2])
    assert list(df[:3]) == [2, 19, 2]
    assert math.isnan(of[3])


def test_holm_by_hand() -> None:
    p = pd.Series([0.01, 0.04, float("nan"), 0.03, 0.5], index=list("abcde"))
    assert list(intervals.holm(p).dropna()) == pytest.approx([0.04, 0.09, 0.09, 0.5])  # x4; x2, raised; x3; x1
    assert math.isnan(intervals.holm(p)["c"])
