"""The order of methods against values computed by hand, and whether the first is ahead against scipy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeps.results import ranking, retention, tradeoff
from tests.sweeps.synthetic_rows import NONE, sweep


def table(*cells: tuple[str, str, float, float, float, int]) -> pd.DataFrame:
    names = ("method", "regularizer", "k", "edit_score", "task_retention", "seed")
    same = {"model": "m", "setting": "instance-sequential", "batch_size": 1, "n_edits": 3, "cell": "c"}
    return pd.DataFrame([same | dict(zip(names, cell, strict=True)) for cell in cells])


def test_ranking_by_hand() -> None:
    ranked = ranking.ranking(
        table(
            ("rome", "none", NONE, 1.0, 0.2, 0),
            ("rome", "rect", 40.0, 0.8, 0.8, 0),
            ("rome", "rect", 40.0, 1.0, 0.6, 1),
            ("kn", "none", NONE, 0.5, 0.0, 0),
            ("memit", "none", NONE, 0.9, NONE, 0),
            ("memit", "rect", 40.0, 0.5, 2.0, 0),  # a retention above 1 counts as 1
        )
    )
    assert list(ranked["method"] + " " + ranked["regularizer"]) == [
        "rome rect",
        "memit rect",
        "rome none",
        "kn none",
        "memit none",
    ]
    assert list(ranked["balance"][:4]) == pytest.approx([(0.8 + 2 * 0.6 / 1.6) / 2, 2 / 3, 0.4 / 1.2, 0.0])
    assert list(ranked["rank"][:4]) == [1, 2, 3, 4]
    assert list(ranked["seeds"]) == [2, 1, 1, 1, 1]
    assert math.isnan(ranked["rank"].iloc[4])
    assert ranked["note"].iloc[4] == "task_retention is missing"
    assert (ranked["note"][:4] == "").all()


def test_equal_ones_share_a_rank() -> None:
    ranked = ranking.ranking(table(("a", "none", NONE, 0.5, 0.5, 0), ("b", "none", NONE, 0.5, 0.5, 0)))
    assert list(ranked["rank"]) == [1.5, 1.5]


def test_the_first_is_tested_against_each_by_pairs_of_seeds() -> None:
    values = {"a": (0.8, 0.9, 0.85), "b": (0.7, 0.75, 0.78), "c": (0.2, 0.1, 0.15)}
    ranked = ranking.ranking(
        table(*((m, "none", NONE, v, v, s) for m, each in values.items() for s, v in enumerate(each)))
    )
    assert list(ranked["method"]) == ["a", "b", "c"]
    differences = np.subtract(values["a"], values["b"])
    assert ranked["behind"].iloc[1] == pytest.approx(differences.mean())
    assert ranked["p"].iloc[1] == pytest.approx(min(1, 3 * stats.ttest_1samp(differences, 0).pvalue))  # three pairs
    assert math.isnan(ranked["p"].iloc[0])
    low, high = stats.ttest_1samp(values["b"], 0).confidence_interval(0.95)
    assert (ranked["low"].iloc[1], ranked["high"].iloc[1]) == pytest.approx((low, high))


def test_the_best_of_five_equals_is_seldom_called_ahead() -> None:
    """Which is first is chance: taking the largest of five for granted, one in four would be."""
    random = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        values = random.normal(0.6, 0.05, (5, 4))
        cells = [(f"m{i}", "none", NONE, v, v, s) for i, each in enumerate(values) for s, v in enumerate(each)]
        found += (ranking.ranking(table(*cells))["p"] < 0.05).any()
    assert found <= 20


def test_one_edited_model_has_the_interval_of_its_facts_and_examples() -> None:
    rows = sweep(ks=(40,), tasks=("ner", "sentiment"))
    made = tradeoff.tradeoff(rows)
    with_sides = ranking.ranking(made, retention.sides(rows, None, made))
    assert (with_sides["low"] < with_sides["balance"]).all()
    assert (with_sides["balance"] < with_sides["high"]).all()
    assert with_sides["p"].isna().all()
    assert ranking.ranking(made)["low"].isna().all()


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_rows_changes_nothing(seed: int) -> None:
    made = sweep(ks=(20, 40), tasks=("ner", "sentiment"), seeds=(0, 1))
    mixed = made.sample(frac=1.0, random_state=seed)
    first, second = (ranking.ranking(tradeoff.tradeoff(one)) for one in (made, mixed))
    pd.testing.assert_frame_equal(first, second)


def test_nothing_to_rank() -> None:
    assert ranking.ranking(tradeoff.tradeoff(sweep().iloc[:0])).empty
