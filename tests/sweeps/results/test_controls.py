"""RECT against its controls, against values computed by hand and against scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeps.results import controls, tradeoff
from tests.sweeps.synthetic_rows import row, sweep, unedited

FACTS = {"rect": (1.0, 1.0, 0.5, 1.0), "random": (0.0, 0.5, 0.5, 0.0)}
TASKS = {"rect": {"ner": 0.4, "nli": 0.6}, "random": {"ner": 0.3, "nli": 0.6}}
SCORES = {"rect": (1.0, 0.2, 0.0), "random": (0.0, 0.9, 0.0)}  # of the examples of ner


@pytest.fixture
def rows() -> pd.DataFrame:
    lines = [row("base", 0, "task", "ner/score", 0.5, **unedited())]
    for name in ("rect", "random"):
        ids = {"regularizer": name, "k": 40.0}
        fact = "reliability/token_accuracy"
        lines += [row(name, 3, "edit", f"{fact}/fact-{i}", v, **ids) for i, v in enumerate(FACTS[name])]
        lines.append(row(name, 3, "edit", fact, float(np.mean(FACTS[name])), **ids))
        lines += [row(name, 3, "task", f"{task}/score", v, **ids) for task, v in TASKS[name].items()]
    lines.append(row("rect20", 3, "edit", "reliability/token_accuracy", 1.0, regularizer="rect", k=20.0))
    return pd.DataFrame(lines)


def outputs() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"cell": cell, "n_edits": 3, "task": "ner", "index": i, "score": v, "evaluation": "task-1"}
            for cell, values in SCORES.items()
            for i, v in enumerate(values)
        ]
    )


def several(rows: pd.DataFrame, lifts: tuple[float, ...]) -> pd.DataFrame:
    """A seed per lift: RECT's figures are higher by it, but for facts."""
    parts = []
    for seed, lift in enumerate(lifts):
        part = rows[(rows["setting"] != tradeoff.UNEDITED) & ~rows["name"].str.contains("fact-")]
        part = part.assign(seed=seed, cell=part["cell"] + f"-{seed}")
        part["value"] += lift * (part["regularizer"] == "rect")
        parts.append(part)
    return pd.concat(parts)


def of(table: pd.DataFrame, what: str, k: float = 40.0) -> pd.Series:
    return table.set_index(["k", "what"]).loc[(k, what)]


def test_one_edited_model_by_hand(rows: pd.DataFrame) -> None:
    table = controls.paired(rows, outputs())
    reliability = of(table, "reliability")
    assert (reliability["rect"], reliability["other"]) == (0.875, 0.25)
    low, high = stats.ttest_1samp([1, 0.5, 0, 1], 0).confidence_interval(0.95)
    assert reliability["difference"] == pytest.approx(0.625)
    assert (reliability["low"], reliability["high"]) == pytest.approx((low, high))
    assert (reliability["models"], reliability["units"]) == (1, 4)
    assert table["p"].isna().all()  # of regularizers one edited model says nothing
    ner = of(table, "ner")
    low, high = stats.ttest_1samp([1, -0.7, 0], 0).confidence_interval(0.95)
    assert (ner["difference"], ner["low"], ner["high"]) == pytest.approx((0.1, low, high))
    assert of(table, "all tasks")["difference"] == pytest.approx(0.05)
    assert set(table["against"]) == {"random"}
    # Named, not zero: what was not measured, and the k that only one side has.
    assert math.isnan(of(table, "locality")["difference"])
    assert of(table, "locality")["note"] == "locality: not measured: rect 40, random 40"
    (gap,) = table[table["k"] == 20].to_dict("records")
    assert gap["note"] == "no cell random 20"
    assert math.isnan(gap["difference"])


def test_over_seeds_it_is_the_paired_t_test_of_their_differences(rows: pd.DataFrame) -> None:
    table = controls.paired(several(rows, (0.0, 0.06, 0.01)))
    ner = of(table, "ner")
    theirs = stats.ttest_1samp([0.1, 0.16, 0.11], 0)
    assert ner["p"] == pytest.approx(theirs.pvalue)
    assert ner["low"] == pytest.approx(theirs.confidence_interval(0.95).low)
    assert ner["models"] == 3
    assert of(table, "all tasks")["difference"] == pytest.approx(0.05 + 0.07 / 3)
    assert (table["p_adjusted"].dropna() >= table["p"].dropna()).all()


def test_no_difference_between_regularizers_is_seldom_called_one() -> None:
    """Each edited model has an effect of its own, which its 300 examples share: five in a hundred, not a third."""
    random = np.random.default_rng(0)
    lines, said = [], []
    for model, seed, name in itertools.product(range(100), range(5), ("rect", "random")):
        cell, p = f"{name}{seed}-{model}", float(np.clip(0.6 + random.normal(0, 0.08), 0, 1))
        right = (random.random(300) < p).astype(float)
        ids = {"model": f"m{model}", "regularizer": name, "k": 40.0, "seed": seed}
        lines.append(row(cell, 5, "task", "nli/score", right.mean(), evaluation="e", **ids))
        said.append(pd.DataFrame({"cell": cell, "n_edits": 5, "task": "nli", "score": right}))
    examples = pd.concat(said).rename_axis("index").reset_index().assign(evaluation="e")
    table = controls.paired(pd.DataFrame(lines), examples)
    p = table.loc[table["what"] == "nli", "p"]
    assert len(p) == 100
    assert (p < 0.05).sum() <= 12  # 5 expected; binomial(100, 0.05) is above 12 in 2 of 1,000


def test_what_is_compared_is_what_is_reported() -> None:
    """Micro F1 is no mean of its examples' scores: where those are all there is, the reported figures are compared."""
    lines = [
        row(name, 3, "task", "ner/score", value, stderr=0.05, regularizer=name, k=40.0)
        for name, value in (("rect", 1.0), ("random", 0.4))
    ]
    ner = of(controls.paired(pd.DataFrame(lines), outputs()), "ner")
    assert ner["difference"] == pytest.approx(0.6)
    assert ner["high"] - ner["difference"] == pytest.approx(stats.t.ppf(0.975, 198) * math.hypot(0.05, 0.05))


def test_a_missing_seed_costs_its_own_line_and_is_named(rows: pd.DataFrame) -> None:
    made = several(rows, (0.0, 0.06, 0.01))
    cut = made[~((made["cell"] == "random-1") & (made["name"] == "ner/score"))]
    whole, table = controls.paired(made), controls.paired(cut)
    assert (of(table, "ner")["models"], of(table, "ner")["note"]) == (2, "1 of 3 seeds without a counterpart left out")
    assert of(table, "all tasks")["models"] == 2
    assert of(table, "nli")["p"] == of(whole, "nli")["p"]
    assert of(table, "reliability")["p"] == of(whole, "reliability")["p"]


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_rows_changes_nothing(seed: int) -> None:
    made = sweep(ks=(20, 40), tasks=("ner", "sentiment"), seeds=(0, 1))
    mixed = made.sample(frac=1.0, random_state=seed)
    pd.testing.assert_frame_equal(controls.paired(made), controls.paired(mixed))


def test_exchanged_sides_change_the_sign(rows: pd.DataFrame) -> None:
    made = several(rows, (0.0, 0.06, 0.01))
    one = of(controls.paired(made), "ner")
    exchanged = made.assign(regularizer=made["regularizer"].replace({"rect": "random", "random": "rect"}))
    other = of(controls.paired(exchanged), "ner")
    assert other["difference"] == pytest.approx(-one["difference"])
    assert other["p"] == pytest.approx(one["p"])


def test_nothing_to_compare(rows: pd.DataFrame) -> None:
    assert controls.paired(rows.iloc[:0]).empty
    assert controls.paired(rows[rows["regularizer"] != "random"]).empty
