"""RECT against its controls, and the order of methods, against values computed by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_rows import NONE, row, sweep, unedited

from sweeps import aggregate, comparisons

FACTS = {"rect": (1.0, 1.0, 0.5, 1.0), "random": (0.0, 0.5, 0.5, 0.0)}
TASKS = {"rect": {"ner": 0.4, "nli": 0.6}, "random": {"ner": 0.3, "nli": 0.6}}


@pytest.fixture
def rows() -> pd.DataFrame:
    lines = [row("base", 0, "task", "ner/score", 0.5, **unedited())]
    for name in ("rect", "random"):
        ids = {"regularizer": name, "k": 40.0}
        fact = "reliability/token_accuracy/fact-"
        lines += [row(name, 3, "edit", f"{fact}{i}", v, **ids) for i, v in enumerate(FACTS[name])]
        lines += [row(name, 3, "task", f"{task}/score", v, **ids) for task, v in TASKS[name].items()]
    lines.append(row("rect20", 3, "edit", "reliability/token_accuracy/fact-0", 1.0, regularizer="rect", k=20.0))
    return pd.DataFrame(lines)


def outputs() -> pd.DataFrame:
    scores = {"rect": (1.0, 1.0, 0.0), "random": (0.0, 1.0, 0.0)}
    return pd.DataFrame(
        [
            {"cell": cell, "n_edits": 3, "task": "ner", "index": i, "score": v, "evaluation": "task-1"}
            for cell, values in scores.items()
            for i, v in enumerate(values)
        ]
    )


def test_paired_by_hand(rows: pd.DataFrame) -> None:
    table = comparisons.paired(rows, outputs())
    lines = table[table["k"] == 40].set_index("what")
    reliability = lines.loc["reliability"]
    assert (reliability["rect"], reliability["other"]) == (0.875, 0.25)
    assert reliability["difference"] == pytest.approx(0.625)  # 1, 0.5, 0, 1
    assert reliability["pairs"] == 4
    assert reliability["p"] == pytest.approx(0.25)  # of 8 patterns of the three that differ: +++ and ---
    assert lines.loc["all tasks", "difference"] == pytest.approx(0.05)
    assert lines.loc["all tasks", "pairs"] == 2
    assert lines.loc["ner", "difference"] == pytest.approx(1 / 3)
    assert set(lines["against"]) == {"random"}
    assert (lines["p_adjusted"].dropna() >= lines["p"].dropna()).all()
    # Named, not zero: what was not measured, and the k that only one side has.
    assert math.isnan(lines.loc["locality", "difference"])
    assert lines.loc["locality", "note"] == "locality was not measured per pair: rect 40, random 40"
    (gap,) = table[table["k"] == 20].to_dict("records")
    assert gap["note"] == "no cell random 20"
    assert math.isnan(gap["difference"])


def test_a_fact_without_counterpart_is_left_out_and_counted(rows: pd.DataFrame) -> None:
    cut = rows[~((rows["cell"] == "random") & rows["name"].str.endswith("fact-0"))]
    lines = comparisons.paired(cut).set_index(["k", "what"])
    assert lines.loc[(40, "reliability"), "pairs"] == 3
    assert lines.loc[(40, "reliability"), "difference"] == pytest.approx(0.5)
    assert lines.loc[(40, "reliability"), "note"] == "1 without a counterpart left out"


def test_seeds_are_pairs_of_their_own(rows: pd.DataFrame) -> None:
    edited = rows[rows["setting"] != aggregate.UNEDITED]
    both = pd.concat([rows, edited.assign(seed=1, cell=edited["cell"] + "-1")])
    assert comparisons.paired(both).set_index(["k", "what"]).loc[(40, "reliability"), "pairs"] == 8


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_rows_changes_nothing(seed: int) -> None:
    made = sweep(ks=(20, 40), tasks=("ner", "sentiment"), seeds=(0, 1))
    mixed = made.sample(frac=1.0, random_state=seed)
    pd.testing.assert_frame_equal(comparisons.paired(made), comparisons.paired(mixed))
    first, second = (comparisons.ranking(aggregate.tradeoff(table)) for table in (made, mixed))
    pd.testing.assert_frame_equal(first, second)


def test_exchanged_sides_change_the_sign(rows: pd.DataFrame) -> None:
    one = comparisons.paired(rows).set_index(["k", "what"]).loc[(40, "reliability")]
    other = comparisons.paired(rows, regularizer="random", controls=("rect",)).set_index(["k", "what"])
    assert other.loc[(40, "reliability"), "difference"] == pytest.approx(-one["difference"])
    assert other.loc[(40, "reliability"), "p"] == one["p"]


def table(*cells: tuple[str, str, float, float, float, int]) -> pd.DataFrame:
    names = ("method", "regularizer", "k", "edit_score", "task_retention", "seed")
    same = {"model": "m", "setting": "instance-sequential", "batch_size": 1, "n_edits": 3}
    return pd.DataFrame([same | dict(zip(names, cell, strict=True)) for cell in cells])


def test_ranking_by_hand() -> None:
    ranked = comparisons.ranking(
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
    assert list(ranked["balance"][:4]) == pytest.approx([2 * 0.9 * 0.7 / 1.6, 2 / 3, 0.4 / 1.2, 0.0])
    assert list(ranked["rank"][:4]) == [1, 2, 3, 4]
    assert list(ranked["seeds"]) == [2, 1, 1, 1, 1]
    assert math.isnan(ranked["rank"].iloc[4])
    assert ranked["note"].iloc[4] == "task_retention is missing"
    assert (ranked["note"][:4] == "").all()


def test_equal_ones_share_a_rank() -> None:
    ranked = comparisons.ranking(table(("a", "none", NONE, 0.5, 0.5, 0), ("b", "none", NONE, 0.5, 0.5, 0)))
    assert list(ranked["rank"]) == [1.5, 1.5]


def test_nothing_to_compare(rows: pd.DataFrame) -> None:
    assert comparisons.paired(rows.iloc[:0]).empty
    assert comparisons.paired(rows[rows["regularizer"] != "random"]).empty
    assert comparisons.ranking(aggregate.tradeoff(rows.iloc[:0])).empty
