"""Kendall's tau between rankings: against scipy, by hand, and its interval over seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweeps.results import agreement

A, B = "reliability_token_accuracy", "generation_reliability_contains"


def line(method: str, a: float, b: float, seed: int = 0, **more: Any) -> dict[str, Any]:
    ids = {"model": "m", "setting": "instance-sequential", "batch_size": 1, "n_edits": 4, "regularizer": "none"}
    return {**ids, "k": math.nan, "method": method, "seed": seed, A: a, B: b, "drift": 0.0, **more}


def of(lines: list[dict[str, Any]]) -> pd.DataFrame:
    return agreement.agreement(pd.DataFrame(lines))


def test_ties_are_counted_as_in_tau_b() -> None:
    """Pairs in the same order less those in the opposite one, over sqrt(untied in a x untied in b): Kendall (1945)."""
    random = np.random.default_rng(0)
    for n in (3, 5, 8, 20):
        a, b = random.integers(0, 4, n), random.normal(size=n).round(random.integers(0, 2))
        signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i in range(n) for j in range(i)]
        untied = sum(abs(one) for one, _ in signs) * sum(abs(other) for _, other in signs)
        expected = sum(one * other for one, other in signs) / math.sqrt(untied)
        found = of([line(f"method {i}", *values) for i, values in enumerate(zip(a, b, strict=True))])
        assert found.iloc[0]["tau"] == pytest.approx(expected)


def test_one_seed_has_a_tau_and_no_interval() -> None:
    found = of([line("rome", 1.0, 0.2), line("memit", 0.9, 0.4), line("memit", 0.8, 0.1, regularizer="rect", k=40.0)])
    assert found[["first", "second"]].to_numpy().tolist() == [[A, B]]
    one = found.iloc[0]
    assert one["tau"] == pytest.approx(1 / 3)  # of three pairs one is turned around
    assert (one["seeds"], one["competitors"]) == (1, 3)
    assert math.isnan(one["low"])
    assert math.isnan(one["high"])


def test_the_interval_is_students_over_seeds() -> None:
    values = {0: (0.1, 0.2, 0.3), 1: (0.3, 0.2, 0.1), 2: (0.1, 0.3, 0.2)}
    lines = [
        line(m, 0.1 * i, v, s) for s, row in values.items() for i, (m, v) in enumerate(zip("abc", row, strict=True))
    ]
    one = of(lines).iloc[0]
    taus = [1, -1, 1 / 3]
    low, high = stats.t.interval(0.95, 2, np.mean(taus), stats.sem(taus))
    assert one["tau"] == pytest.approx(np.mean(taus))
    assert (one["low"], one["high"]) == (max(-1, low), min(1, high))
    turned = {s: -0.1 if s % 2 else 0.1 for s in range(3, 40)}
    many = of([*lines, *(line(m, 0.1 * i, v * i, s) for s, v in turned.items() for i, m in enumerate("abc"))]).iloc[0]
    taus += [-1 if v < 0 else 1 for v in turned.values()]
    assert (many["low"], many["high"]) == pytest.approx(stats.t.interval(0.95, 39, np.mean(taus), stats.sem(taus)))


def test_only_competitors_that_every_seed_has_are_ranked() -> None:
    lines = [line("a", 1, 1, s) for s in (0, 1)] + [line("b", 2, 2, s) for s in (0, 1)] + [line("c", 3, 0, 0)]
    one = of(lines).iloc[0]
    assert (one["tau"], one["competitors"], one["seeds"]) == (1, 2, 2)


def test_which_metrics_order_methods() -> None:
    """Whole figures of edits and the tasks; neither parts of them nor drift."""
    ranked = {
        *("reliability_token_accuracy", "generalization_token_accuracy", "locality_token_accuracy"),
        *("counterfact_score", "task_score", "generation_reliability_contains", "generation_reliability_exact_match"),
        *("generation-chat_generalization_contains", "generation_portability_contains"),
        *("generation_locality_unchanged",),
    }
    others = ("efficacy_success", "nli_score", "generation_reliability_contains_at_period", "mquake_edit_wise")
    lines = [line(method, 0, 0, **dict.fromkeys([*ranked, *others], at)) for at, method in enumerate(("rome", "memit"))]
    found = of(lines)
    assert {*found["first"], *found["second"]} == ranked
    assert len(found) == len(ranked) * (len(ranked) - 1) / 2
    assert (found["tau"] == 1).all()


def test_what_cannot_be_told_says_why() -> None:
    assert of([line("rome", 1, 1), line("rome", 0, 1, regularizer="rect", k=20.0)]).empty  # one method
    level = of([line("rome", 1, 0.5), line("memit", 0, 0.5)]).iloc[0]
    assert math.isnan(level["tau"])
    assert level["note"] == "all are level in one of them"
    alone = of([line("rome", 1, 0.5), line("memit", 0, math.nan)]).iloc[0]
    assert alone["note"] == "fewer than two competitors in all seeds"
    unedited = line("none", 1, 1, setting="unedited")
    assert of([unedited, line("rome", 1, 1)]).empty
