"""Which ability a trade-off is read from, and how much less a regularized model drifts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweeps.results import ability, tradeoff
from sweeps.results.fronts import TASKS, TEXT
from tests.sweeps.synthetic_rows import NONE, row, unedited

LEVELS = {"none": NONE, "rect-20": 20.0, "rect-40": 40.0}


def rows(drift: dict[str, list[list[float]]], tasks: dict[str, float] | None = None) -> pd.DataFrame:
    """Per level and seed the drift of each text; the share of a task is lost by level."""
    lines = [row("u", 0, "task", "ner/score", 0.8, **unedited()), row("u", 0, "task", "ner/chance", 0.0, **unedited())]
    lines.append(row("u", 0, "ability", "drift", 0.0, **unedited()))
    for name, seeds in drift.items():
        for seed, texts in enumerate(seeds):
            ids: dict[str, Any] = {"regularizer": name.split("-")[0], "k": LEVELS[name], "seed": seed}
            cell = f"{name}-{seed}"
            editing = 1.0 if name == "none" else 0.97
            for metric in ("reliability", "generalization"):
                lines.append(row(cell, 6, "edit", f"{metric}/token_accuracy", editing, **ids))
            lines.append(row(cell, 6, "task", "ner/score", 0.8 * (tasks or {}).get(name, 1.0), **ids))
            lines.append(row(cell, 6, "ability", "drift", float(np.mean(texts)), n=len(texts), **ids))
            lines += [row(cell, 6, "ability", f"drift/text-{i}", v, n=1, **ids) for i, v in enumerate(texts)]
    return pd.DataFrame(lines)


def kept(table: pd.DataFrame, high: float) -> pd.DataFrame:
    """What is known of the tasks: of the unregularized cells an interval up to `high`."""
    levels = table[table["setting"] != tradeoff.UNEDITED].drop_duplicates(["regularizer", "k"])
    found = levels[[*tradeoff.GROUP, "n_edits", "regularizer", "k"]].reset_index(drop=True)
    return found.assign(task_retention_high=np.where(found["regularizer"] == "none", high, 0.5))


MORE = [[0.09, 0.05, 0.08, 0.06]]
LESS = [[0.05, 0.03, 0.06, 0.04]]


@pytest.mark.parametrize(("high", "read"), [(0.96, TASKS), (1.0, TEXT), (1.04, TEXT), (NONE, TEXT)])
def test_the_tasks_are_read_where_editing_alone_is_seen_to_cost_some(high: float, read: str) -> None:
    table = tradeoff.tradeoff(rows({"none": MORE, "rect-20": LESS}))
    found = ability.chosen(table, kept(table, high)).set_index("cell")["ability"]
    assert found.to_dict() == {"u": "", "none-0": read, "rect-20-0": read}


def test_without_drift_there_is_nothing_but_the_tasks() -> None:
    made = rows({"none": MORE, "rect-20": LESS})
    table = tradeoff.tradeoff(made[made["kind"] != "ability"])
    found = ability.chosen(table, kept(table, 1.2))
    assert set(found.loc[found["setting"] != tradeoff.UNEDITED, "ability"]) == {TASKS}


def test_the_front_is_of_what_is_read() -> None:
    """RECT 40 drifts more than RECT 20 and keeps as much of the editing; by the tasks it is the other way round."""
    lost = {"none": 0.9, "rect-20": 0.91, "rect-40": 0.95}
    table = tradeoff.tradeoff(rows({"none": MORE, "rect-20": LESS, "rect-40": [[0.06, 0.04, 0.07, 0.05]]}, lost))

    def front(high: float) -> set[str]:
        found = ability.chosen(table, kept(table, high))
        mean = tradeoff.over_seeds(found)  # of one seed each it has the same front
        assert list(mean.loc[mean["pareto"], "k"].dropna()) == list(found.loc[found["pareto"], "k"].dropna())
        return set(found.loc[found["pareto"], "cell"])

    assert front(0.96) == {"none-0", "rect-40-0"}
    assert front(1.02) == {"none-0", "rect-20-0"}


def test_the_share_of_the_drift_over_texts_by_drawing_them_anew() -> None:
    random = np.random.default_rng(3)
    none = random.gamma(3, 0.03, 60)
    less = none * random.uniform(0.4, 0.8, 60)
    made = rows({"none": [none.tolist()], "rect-20": [less.tolist()]})
    table = tradeoff.tradeoff(made)
    found = ability.with_drift(kept(table, 1.0), made, table).set_index("regularizer")
    line = found.loc["rect"]
    assert line["drift_share"] == pytest.approx(less.mean() / none.mean())
    assert (line["drift_share_models"], line["drift_share_units"]) == (1, 60)
    draws = random.integers(0, 60, (20_000, 60))
    shares = less[draws].mean(1) / none[draws].mean(1)
    assert [line["drift_share_low"], line["drift_share_high"]] == pytest.approx(
        np.percentile(shares, [2.5, 97.5]), abs=0.01
    )
    assert pd.isna(found.loc["none", "drift_share"])


def test_the_share_over_several_edited_models_is_t_over_their_shares() -> None:
    none, less = [[0.08] * 3, [0.06] * 3, [0.09] * 3], [[0.05] * 3, [0.03] * 3, [0.07] * 3]
    made = rows({"none": none, "rect-20": less})
    table = tradeoff.tradeoff(made)
    line = ability.with_drift(kept(table, 1.0), made, table).set_index("regularizer").loc["rect"]
    shares = [own[0] / base[0] for own, base in zip(less, none, strict=True)]
    assert line["drift_share"] == pytest.approx(np.mean(shares))
    assert line["drift_share_models"] == 3
    low, high = stats.ttest_1samp(shares, 0).confidence_interval(0.95)
    assert (line["drift_share_low"], line["drift_share_high"]) == pytest.approx((low, high))


def test_rows_without_texts_leave_the_share_unknown() -> None:
    made = rows({"none": MORE, "rect-20": LESS})
    table = tradeoff.tradeoff(made)
    bare = made[~made["name"].str.contains("/text-")]
    assert ability.with_drift(kept(table, 1.0), bare, table)["drift_share"].isna().all()
