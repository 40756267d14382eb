"""What is kept and how sure that is: the interval is of the very figure that is reported."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweeps.results import intervals, retention, tradeoff
from tests.sweeps.synthetic_rows import row, sweep, unedited


def cell(name: str, facts: list[float], rephrased: list[float], n_edits: int = 9, **ids: Any) -> list[dict[str, Any]]:
    lines = []
    for metric, values in (("reliability", facts), ("generalization", rephrased)):
        label = f"{metric}/token_accuracy"
        lines += [row(name, n_edits, "edit", f"{label}/fact-{i}", v, **ids) for i, v in enumerate(values)]
        lines.append(row(name, n_edits, "edit", label, float(np.mean(values)), n=len(values), **ids))
    return lines


def kept(lines: list[dict[str, Any]], outputs: pd.DataFrame | None = None, share: float = 0.95) -> pd.DataFrame:
    rows = pd.DataFrame(lines)
    table = tradeoff.tradeoff(rows)
    return retention.kept(table, retention.sides(rows, outputs, table), share)


def of(table: pd.DataFrame, k: float, regularizer: str = "rect") -> pd.Series:
    (found,) = table[(table["regularizer"] == regularizer) & (table["k"] == k)].to_dict("records")
    return pd.Series(found)


def rect(k: float, **more: Any) -> dict[str, Any]:
    return {"regularizer": "rect", "k": k} | more


def test_the_interval_holds_what_is_reported_where_few_facts_have_rephrasings() -> None:
    """Ten facts, one with a rephrasing, which is lost: 0.5 is kept, whatever nine facts without one say."""
    lines = cell("n", [1.0] * 10, [1.0]) + cell("r", [1.0] * 10, [0.0], **rect(40.0))
    found = of(kept(lines), 40)
    assert found["edit_retention"] == 0.5
    assert found["edit_retention_low"] <= 0.5 <= found["edit_retention_high"]


def test_over_seeds_it_is_t_over_the_seeds_shares() -> None:
    lines: list[dict[str, Any]] = []
    base, own = [(1.0, 0.8), (1.0, 0.6), (0.9, 0.9)], [(0.9, 0.8), (0.95, 0.6), (0.8, 0.9)]
    for seed, (none, mine) in enumerate(zip(base, own, strict=True)):
        lines += cell(f"n{seed}", [none[0]] * 4, [none[1]] * 4, seed=seed)
        lines += cell(f"r{seed}", [mine[0]] * 4, [mine[1]] * 4, seed=seed, **rect(40.0))
    shares = [sum(mine) / sum(none) for none, mine in zip(base, own, strict=True)]
    found = of(kept(lines, share=0.94), 40)
    margins = [sum(mine) / 2 - 0.94 * sum(none) / 2 for none, mine in zip(base, own, strict=True)]
    theirs = stats.ttest_1samp(margins, 0, alternative="greater")
    low, high = stats.ttest_1samp(shares, 0).confidence_interval(0.95)
    assert (found["edit_retention"], found["edit_retention_models"]) == (pytest.approx(np.mean(shares)), 3)
    assert (found["edit_retention_low"], found["edit_retention_high"]) == pytest.approx((low, high))
    assert found["p_keeps"] == pytest.approx(theirs.pvalue / (1 - intervals.RESERVE / 2))
    assert math.isnan(of(kept(lines).fillna({"k": -1}), -1, "none")["edit_retention_low"])  # what is divided by


def test_facts_are_paired_with_the_unregularized_cells() -> None:
    """Where both cells fail on the same facts little depends on which facts there are."""
    scores = [1.0, 0.5, 0.2, 0.9, 0.1]
    half = [s / 2 + (-1) ** i / 1000 for i, s in enumerate(scores)]
    found = of(kept(cell("n", scores, scores) + cell("r", half, half, **rect(40.0))), 40)
    shuffled = of(kept(cell("n", scores, scores) + cell("r", half[::-1], half[::-1], **rect(40.0))), 40)
    assert found["edit_retention"] == shuffled["edit_retention"] == pytest.approx(0.5, abs=0.001)
    widths = [one["edit_retention_high"] - one["edit_retention_low"] for one in (found, shuffled)]
    assert widths[0] < 0.02 < widths[1]


def test_one_models_interval_against_the_bootstrap_of_its_facts() -> None:
    random = np.random.default_rng(5)
    none, mine = random.beta(8, 2, 60), random.beta(6, 4, 60)
    found = of(kept(cell("n", [*none], [*none]) + cell("r", [*mine], [*mine], **rect(40.0))), 40)

    def share(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis) / b.mean(axis)

    drawn = stats.bootstrap((mine, none), share, paired=True, n_resamples=4000, rng=random, method="BCa")
    low, high = drawn.confidence_interval
    assert (found["edit_retention_low"], found["edit_retention_high"]) == pytest.approx((low, high), abs=0.012)


def test_a_missing_value_costs_its_own_level_and_nothing_else() -> None:
    lines: list[dict[str, Any]] = []
    for seed, add in enumerate((0.0, 0.02, 0.04)):
        lines += cell(f"n{seed}", [1.0] * 5, [1.0] * 5, seed=seed)
        for k in (20.0, 40.0):
            lines += cell(f"r{k}{seed}", [0.9 + add] * 5, [0.9] * 5, seed=seed, **rect(k))
    whole = kept(lines)
    gone = kept([line for line in lines if line["cell"] != "r20.01"])
    assert (of(whole, 20)["edit_retention_models"], of(gone, 20)["edit_retention_models"]) == (3, 2)
    figures = ["edit_retention", "edit_retention_low", "edit_retention_high", "edit_retention_models"]
    assert list(of(whole, 40)[figures]) == list(of(gone, 40)[figures])


def test_the_smallest_k_lies_between_what_is_not_ruled_out_and_what_is_shown() -> None:
    lines: list[dict[str, Any]] = []
    shares = {10.0: (0.5, 0.52, 0.48), 20.0: (0.9, 0.97, 0.93), 40.0: (0.98, 0.99, 0.985), 80.0: (1.0, 0.99, 0.995)}
    for seed in range(3):
        lines += cell(f"n{seed}", [1.0] * 5, [1.0] * 5, seed=seed)
        for k, values in shares.items():
            lines += cell(f"r{k}{seed}", [values[seed]] * 5, [values[seed]] * 5, seed=seed, **rect(k))
    line = of(kept(lines), 20)
    assert (line["k_low"], line["k_high"]) == (20, 40)
    assert line["p_keeps"] > 0.05
    # What is not shown at a larger k is not shown at a smaller one either.
    for one in lines:
        if one["cell"].startswith("r80.0"):
            one["value"] = 0.9 + 0.1 * one["seed"]
    assert of(kept(lines), 20)["k_high"] == np.inf
    assert of(kept(lines, share=1.5), 20)["k_low"] == np.inf


def test_a_level_that_lost_a_seed_on_the_way_is_no_smallest_k() -> None:
    lines: list[dict[str, Any]] = []
    for seed in range(3):
        lines += cell(f"n{seed}", [1.0] * 5, [1.0] * 5, seed=seed)
        lines += cell(f"r{seed}", [0.99] * 5, [1.0 - seed / 100] * 5, 9 if seed else 2, seed=seed, **rect(20.0))
        lines += cell(f"s{seed}", [0.99] * 5, [1.0 - seed / 100] * 5, seed=seed, **rect(40.0))
    line = of(kept(lines), 40)
    assert (line["k_low"], line["k_high"]) == (40, 40)


def test_tasks_are_paired_with_the_unedited_models_examples() -> None:
    """The same examples right and wrong before and after: of 30 examples 20 and 10, and exactly half, whichever."""
    before, after = [1.0] * 20 + [0.0] * 10, [0.5] * 20 + [0.0] * 10
    lines = [row("u", 0, "task", "nli/score", 2 / 3, stderr=0.01, evaluation="e", **unedited())]
    lines.append(row("u", 0, "task", "nli/chance", 0.5, evaluation="e", **unedited()))
    lines += cell("n", [1.0] * 3, [1.0] * 3)
    lines.append(row("n", 9, "task", "nli/score", 1 / 3, stderr=0.08, evaluation="e"))
    outputs = pd.DataFrame(
        [
            {"cell": name, "n_edits": n, "task": "nli", "index": i, "score": v, "evaluation": "e"}
            for name, n, scores in (("u", 0, before), ("n", 9, after))
            for i, v in enumerate(scores)
        ]
    )
    alone, paired = (of(kept(lines, given).fillna({"k": -1}), -1, "none") for given in (None, outputs))
    assert alone["task_retention"] == paired["task_retention"] == pytest.approx(0.5)
    assert alone["task_retention_high"] - alone["task_retention_low"] > 0.4
    assert paired["task_retention_high"] - paired["task_retention_low"] < 0.2
    assert (paired["task_retention_models"], paired["task_retention_units"]) == (1, 30)


def test_order_changes_nothing_and_nothing_gives_nothing() -> None:
    rows = sweep(seeds=(0, 1, 2), tasks=("ner",))
    table = tradeoff.tradeoff(rows)
    mixed = rows.sample(frac=1, random_state=1)
    first, second = (retention.kept(table, retention.sides(one, None, table)) for one in (rows, mixed))
    pd.testing.assert_frame_equal(first, second)
    assert (first["task_retention_low"] <= first["task_retention"]).all()
    empty = tradeoff.tradeoff(rows.iloc[:0])
    assert retention.kept(empty, retention.sides(rows.iloc[:0], None, empty)).empty
