"""Bounds of means whose error leans to one side, against sampling, and against plain t where none does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sweeps.results import intervals, skewed, units

SKEWS = (-0.4, -0.1, 0.1, 0.4)


def false_claims(seeds: int, facts: int, right: float, runs: int, skew: bool) -> tuple[float, float]:
    """Percent of one-sided bounds at 5% that miss below, and above: facts that are nearly all right, models alike."""
    random = np.random.default_rng(3)
    values = (random.random((runs, seeds, facts)) < right).astype(float)
    missed = np.zeros(2)
    for run in values:
        models = [units.ratio(one, np.ones(facts), i, "facts") for i, one in enumerate(run)]
        found = intervals.mean(models)
        if not skew:
            found = intervals.Estimate(found.value, found.stderr, found.df, found.models, found.units)
        missed += found.at_least > right, found.at_most < right
    return float(100 * missed[0] / runs), float(100 * missed[1] / runs)


def test_bounds_of_a_skewed_mean_miss_as_often_on_either_side() -> None:
    """Ten models of thirty facts, 95% right: failures are rare, so the mean leans to the left."""
    plain, moved = (false_claims(10, 30, 0.95, 2500, skew) for skew in (False, True))
    assert plain[0] - plain[1] > 3
    assert abs(moved[0] - moved[1]) < 1.8
    assert all(3 < side < 7 for side in moved)


def test_without_skewness_nothing_is_moved() -> None:
    for df in (1.0, 2.0, 9.0, 1e6):
        assert skewed.reach(2.5, 0.0, df) == pytest.approx(2.5)
        assert skewed.quantile(2.5, 0.0, df) == 2.5


def test_with_many_degrees_of_freedom_it_is_johnsons() -> None:
    """t + k (1 + 2 t^2) / 6 is what has the distribution of t (Johnson 1978), to first order in the skewness k."""
    for t in (-2.0, 0.0, 1.7):
        assert skewed.quantile(t, 1e-4, 1e9) == pytest.approx(t + 1e-4 * (1 + 2 * t * t) / 6, abs=1e-7)


@pytest.mark.parametrize("df", [1.0, 2.0, 4.6, 60.0])
@pytest.mark.parametrize("skew", SKEWS)
def test_a_quantile_is_found_back_and_bounds_never_turn(df: float, skew: float) -> None:
    quantiles = np.linspace(-12, 12, 481)
    distances = skewed.reach(quantiles, np.full_like(quantiles, skew), np.full_like(quantiles, df))
    assert (np.diff(distances) > 0).all()
    back = [skewed.quantile(float(one), skew, df) for one in distances[::60]]
    assert back == pytest.approx(quantiles[::60], abs=1e-6)
    # From above it is the picture in a mirror.
    assert skewed.reach(quantiles, -skew, df) == pytest.approx(-skewed.reach(-quantiles, skew, df))


@pytest.mark.parametrize("skew", SKEWS)
def test_tests_and_intervals_agree(skew: float) -> None:
    found = intervals.Estimate(0.6, 0.02, 2.0, 3, 60, skew)
    assert found.low < found.at_least < found.value < found.at_most < found.high
    assert [found.p(found.low), found.p(found.high)] == pytest.approx([0.05, 0.05])
    mirrored = intervals.Estimate(-0.6, 0.02, 2.0, 3, 60, -skew)
    assert [found.p_below(found.at_least), mirrored.p_below(-found.at_most)] == pytest.approx([0.05, 0.05])
    assert found.p(found.low - 0.01) < 0.05 < found.p(found.low + 0.01)
    # What leans to the right may well lie further up than down.
    assert (found.high - found.value > found.value - found.low) == (skew > 0)


def test_third_cumulants_are_scipys_k_statistics() -> None:
    values = np.random.default_rng(0).exponential(size=30)
    one = units.ratio(values, np.ones(30), "e", "nli")
    assert one.third == pytest.approx(stats.kstat(values, 3) / 30**2)
    assert units.difference(one, one).third == 0.0
    assert units.reported(0.5, 0.1, 30, "e", "nli").third == 0.0
    other = units.ratio(values, np.ones(30), "other", "nli")
    assert units.average([one, other]).third == pytest.approx(one.third / 4)  # two independent halves, each cubed


def test_a_difference_leans_to_no_side() -> None:
    random = np.random.default_rng(1)
    models = [units.ratio((random.random(30) < 0.9).astype(float), np.ones(30), i, "facts") for i in range(6)]
    assert intervals.mean(models).skew < 0
    a, b = models[:3], models[3:]
    found, theirs = (intervals.paired(zip(a, b, strict=True)), stats.ttest_rel(*([x.value for x in s] for s in (a, b))))
    assert (found.skew, found.p()) == (0.0, pytest.approx(theirs.pvalue))


def test_skewness_is_at_most_that_of_its_own_units() -> None:
    third, own = np.array([1e-6, 1e-6, 1.0, np.nan]), np.array([1e-3, 1e-3, 1e-3, 1e-3])
    found = skewed.skewness(third, own, np.array([1e-9, 4e-3, 1e-3, 1e-3]))
    assert found == pytest.approx([1e-6 / 1e-3**1.5, 1e-6 / 4e-3**1.5, skewed.MOST, 0.0])
