"""Which edits teacher forcing counts and free generation does not: by hand, and over seeds."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from scipy import stats

from sweeps.results import answered, tradeoff
from tests.sweeps.synthetic_rows import row

FORCED = (1.0, 1.0, 1.0, 0.5, 1.0)
CONTAINS = (1.0, 0.0, 1.0, 1.0, 0.0)
EXACT = (1.0, 0.0, 0.0, 0.0, 0.0)


def rows(cell: str = "c", seed: int = 0, contains: tuple[float, ...] = CONTAINS, n_edits: int = 5) -> list[dict]:
    figures = {
        "reliability/token_accuracy": FORCED,
        "generation/reliability/contains": contains,
        "generation/reliability/exact_match": EXACT,
        "generation/reliability/contains_at_period": EXACT,
        "generation/reliability/exact_match_at_period": EXACT,
    }
    lines = []
    for name, values in figures.items():
        more = {"seed": seed, "evaluation": name.partition("/")[0]}
        lines += [row(cell, n_edits, "edit", f"{name}/fact-{i}", v, **more) for i, v in enumerate(values)]
        lines.append(row(cell, n_edits, "edit", name, sum(values) / len(values), **more))
    return lines


def of(lines: list[dict]) -> pd.DataFrame:
    frame = pd.DataFrame(lines)
    return answered.beside(frame, tradeoff.tradeoff(frame))


def test_shares_of_one_edited_model() -> None:
    (one,) = of(rows()).to_dict("records")
    assert (one["metric"], one["kind"]) == ("generation", "reliability")
    assert one["forced"] == pytest.approx(4 / 5)
    assert one["contains"] == pytest.approx(3 / 5)
    assert one["exact_match"] == pytest.approx(1 / 5)
    assert one["lost"] == pytest.approx(2 / 5)  # the second and the last; the fourth counts freely alone
    assert one["lost_exact"] == one["lost_released"] == pytest.approx(3 / 5)
    assert (one["models"], one["facts"]) == (1, 5)
    low, high = stats.t.interval(0.95, 4, 2 / 5, stats.sem([0, 1, 0, 0, 1]))
    assert one["low"] == max(0, low)
    assert one["high"] == pytest.approx(min(1, high))


def test_several_edited_models_are_averaged_and_give_the_interval() -> None:
    (one,) = of([*rows(), *rows("d", 1, (1.0, 1.0, 1.0, 0.0, 0.0)), *rows("e", 2, (1.0,) * 5)]).to_dict("records")
    assert one["lost"] == pytest.approx((0.4 + 0.2 + 0) / 3)
    low, high = stats.t.interval(0.95, 2, 0.2, stats.sem([0.4, 0.2, 0]))
    assert low < 0 == one["low"]
    assert high < one["high"] < high + (high - 0.2) / 2  # few are lost: it leans upwards
    assert (one["models"], one["facts"]) == (3, 15)


def test_only_the_last_checkpoint_and_only_edits_that_have_both() -> None:
    early = rows(n_edits=2, contains=(0.0,) * 5)
    without = [line for line in rows() if line["name"] != "generation/reliability/contains/fact-1"]
    (one,) = of([*early, *without]).to_dict("records")
    assert one["facts"] == 4
    assert one["lost"] == pytest.approx(1 / 4)


def test_nothing_generated_nothing_told() -> None:
    assert of([line for line in rows() if not line["name"].startswith("generation/")]).empty
    alone = [line for line in rows() if line["name"].startswith("generation/") or "/fact-" not in line["name"]]
    assert of(alone).empty


def test_no_interval_of_a_single_edit() -> None:
    one = of([line for line in rows() if "/fact-" not in line["name"] or line["name"].endswith("/fact-0")]).iloc[0]
    assert one["facts"] == 1
    assert math.isnan(one["low"])
    assert math.isnan(one["high"])


def test_a_judge_stands_beside_them_where_it_has_judged() -> None:
    assert math.isnan(of(rows()).iloc[0]["judged"])
    judged = [
        row("c", 5, "edit", f"generation/reliability/judged/fact-{i}", v, evaluation="judge")
        for i, v in enumerate((1.0, 0.5, 0.0, 1.0, 1.0))
    ]
    one = of([*rows(), *judged]).iloc[0]
    assert one["judged"] == pytest.approx(3 / 5)
    assert one["lost"] == pytest.approx(2 / 5)
    assert math.isnan(of([*rows(), *judged[:-1]]).iloc[0]["judged"])
