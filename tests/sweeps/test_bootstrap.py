"""Resampling of facts: exact where it can be worked out, and the properties that it must have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_rows import row, sweep

from sweeps import bootstrap


def facts(cell: str, scores: list[float], n_edits: int = 9, **ids: object) -> list[dict]:
    return [
        row(cell, n_edits, "edit", f"{metric}/token_accuracy/fact-{i}", score, **ids)
        for i, score in enumerate(scores)
        for metric in ("reliability", "generalization")
    ]


def of(table: pd.DataFrame, regularizer: str, k: float) -> pd.Series:
    (found,) = table[(table["regularizer"] == regularizer) & (table["k"] == k)].to_dict("records")
    return pd.Series(found)


def test_constant_scores_have_no_spread() -> None:
    lines = facts("none", [0.8] * 5) + facts("r20", [0.4] * 5, regularizer="rect", k=20.0)
    lines += facts("r40", [0.8] * 5, regularizer="rect", k=40.0)
    table = bootstrap.edit_retention(pd.DataFrame(lines))
    twenty = of(table, "rect", 20)
    assert (twenty["low"], twenty["high"]) == pytest.approx((0.5, 0.5))
    assert (twenty["k_low"], twenty["k_high"], twenty["facts"]) == (40, 40, 5)


def test_interval_against_the_binomial() -> None:
    """Retention is a mean of n zeros and ones, half of them ones: its percentiles are those of Binomial(n, 1/2) / n."""
    n = 40
    lines = facts("none", [1.0] * n) + facts("r", [1.0, 0.0] * (n // 2), regularizer="rect", k=40.0)
    found = of(bootstrap.edit_retention(pd.DataFrame(lines), share=0.5), "rect", 40)
    assert found["low"] == pytest.approx(14 / n, abs=1.01 / n)  # Binomial(40, 1/2): 2.5% at 14, 97.5% at 26
    assert found["high"] == pytest.approx(26 / n, abs=1.01 / n)
    assert found["k_low"] == 40  # reached in about half of the draws
    assert found["k_high"] == np.inf


def test_facts_are_resampled_together() -> None:
    """Where both cells fail on the same facts the ratio is exact, however the facts are drawn."""
    scores = [1.0, 0.5, 0.2, 0.9, 0.1]
    lines = facts("none", scores) + facts("r", [s / 2 for s in scores], regularizer="rect", k=40.0)
    found = of(bootstrap.edit_retention(pd.DataFrame(lines)), "rect", 40)
    assert (found["low"], found["high"]) == pytest.approx((0.5, 0.5))


def test_cells_that_stopped_early_and_groups_without_none_are_left_out() -> None:
    lines = facts("none", [1.0] * 3) + facts("r", [1.0] * 3, n_edits=2, regularizer="rect", k=20.0)
    lines += facts("r", [0.5] * 3, regularizer="rect", k=40.0)
    lines += facts("o", [0.5] * 3, regularizer="rect", k=40.0, model="other")
    table = bootstrap.edit_retention(pd.DataFrame(lines))
    assert list(table["k"]) == [40]
    assert list(table["model"]) == ["m"]


def test_more_seeds_are_more_facts_and_order_changes_nothing() -> None:
    rows = sweep(seeds=(0, 1, 2))
    table = bootstrap.edit_retention(rows)
    assert set(table["facts"]) == {12}
    pd.testing.assert_frame_equal(table, bootstrap.edit_retention(rows.sample(frac=1, random_state=1)))
    assert (table["low"] <= table["high"]).all()


def test_without_rows_per_fact_there_is_no_interval() -> None:
    assert bootstrap.edit_retention(sweep(facts=0)).empty
    assert bootstrap.edit_retention(sweep().iloc[:0]).empty
    lines = facts("none", [0.0] * 3) + facts("r", [0.0] * 3, regularizer="rect", k=40.0)
    found = of(bootstrap.edit_retention(pd.DataFrame(lines)), "rect", 40)
    assert np.isnan(found["low"])
    assert found["k_high"] == np.inf
