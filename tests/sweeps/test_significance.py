"""Intervals and tests of differences against numbers that can be counted by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps import significance


def test_exact_by_hand() -> None:
    found = significance.paired([1.0, 1.0, 1.0, 1.0, 0.0])
    assert found.mean == pytest.approx(0.8)
    assert found.n == 5
    assert found.p == pytest.approx(2 / 16)  # of the 16 patterns of four signs, ++++ and ----
    assert 0.4 <= found.low <= 0.6
    assert found.high == 1.0


@given(st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=7))
@settings(deadline=None, max_examples=30)
def test_exact_p_is_the_share_of_all_sign_patterns(values: list[float]) -> None:
    patterns = itertools.product((-1, 1), repeat=len(values))
    sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in patterns]
    expected = sum(total >= abs(sum(values)) for total in sums) / len(sums)
    assert significance.paired(values).p == pytest.approx(expected)


def test_many_pairs_agree_with_the_binomial_test() -> None:
    """40 times +1 and 20 times -1: P(|X - 30| >= 10) for X binomial(60, 1/2)."""
    upper = sum(math.comb(60, i) for i in range(40, 61)) / 2**60
    found = significance.paired([1.0] * 40 + [-1.0] * 20 + [0.0] * 100, draws=20_000)
    assert found.p == pytest.approx(2 * upper, abs=0.003)


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 400)
    found = significance.paired(values)
    error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.02)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.02)


def test_no_difference_and_too_few() -> None:
    assert significance.paired([0.0, 0.0]).p == 1.0
    assert significance.paired([]).n == 0
    alone = significance.paired([0.5, float("nan")])
    assert (alone.mean, alone.n) == (0.5, 1)
    assert math.isnan(alone.p)
    assert math.isnan(alone.low)


def test_unpaired() -> None:
    found = significance.unpaired(0.5, 0.03, 0.598, 0.04)
    assert found.mean == pytest.approx(0.098)
    assert found.low == pytest.approx(0.0)
    assert found.p == pytest.approx(0.05, abs=1e-3)  # 1.96 standard errors
    assert math.isnan(significance.unpaired(0.5, float("nan"), 0.6, 0.1).p)


def test_holm_by_hand() -> None:
    p = pd.Series([0.01, 0.04, float("nan"), 0.03, 0.5], index=list("abcde"))
    assert list(significance.holm(p).dropna()) == pytest.approx([0.04, 0.09, 0.09, 0.5])  # x4; x2, raised; x3; x1
    assert math.isnan(significance.holm(p)["c"])
