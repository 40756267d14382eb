"""The sentences that tell what a sweep found."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from sweeps.results import ability, retention, tradeoff
from sweeps.results.headlines import headlines
from tests.sweeps.results import test_ability
from tests.sweeps.synthetic_rows import sweep

NOTHING = pd.DataFrame(columns=retention.COLUMNS)


def told(rows: pd.DataFrame) -> list[dict[str, str]]:
    table = tradeoff.tradeoff(rows)
    return headlines(table, retention.kept(table, retention.sides(rows, None, table)))


def test_headline_by_hand() -> None:
    table = tradeoff.tradeoff(sweep(n=10_000)).set_index("cell")
    cells = {name: f"smollm2-135m-{name}-0" for name in ("none-nan", "rect-20", "rect-40", "rect-80")}
    kept = {"none-nan": (1.0, 0.2), "rect-20": (0.8, 0.7), "rect-40": (0.96, 0.56), "rect-80": (0.99, 0.3)}
    for name, (editing, tasks) in kept.items():
        table.loc[cells[name], ["edit_retention", "task_retention"]] = (editing, tasks)
    table.loc[cells["rect-40"], "task_score"] = 0.25
    table.loc[cells["none-nan"], "task_score"] = 0.1
    table.loc["smollm2-135m-unedited", "task_score"] = 0.4
    (headline,) = headlines(table.reset_index(), NOTHING)
    assert headline["title"] == "smollm2-135m, rome, instance-sequential, after 6 edits"
    assert headline["finding"] == (
        "rect 40 is the smallest k of 20, 40, 80 that keeps 95% of the editing: "
        "it keeps 96% of the editing and 56% of the tasks, against 20% of the tasks without regularization."
    )
    assert headline["scores"] == (
        "Mean task score: unedited 0.400, unregularized 0.100, rect 40 0.250. "
        "Perplexity: unedited unknown, unregularized 142.5, rect 40 57.9. 7 of the 8 tasks stand above chance."
    )


def drifting(none: list[list[float]], less: list[list[float]], tasks: bool = True) -> dict[str, str]:
    """The headline of a sweep whose tasks lose nothing, or which asks none."""
    rows = test_ability.rows({"none": none, "rect-20": less})
    rows = rows if tasks else rows[rows["kind"] != "task"]
    table = tradeoff.tradeoff(rows)
    kept = retention.kept(table, retention.sides(rows, None, table))
    (headline,) = headlines(ability.chosen(table, kept), ability.with_drift(kept, rows, table))
    return headline


def test_drift_is_told_where_the_tasks_cannot_tell() -> None:
    headline = drifting([[0.09, 0.05, 0.08, 0.06]], [[0.05, 0.03, 0.05, 0.03]])
    found = re.fullmatch(
        r"rect 20 is the smallest k that keeps 95% of the editing: it keeps 97% \(.*\) of the editing and drifts "
        r"57% as far from the unedited model as without regularization \((\d+)% to (\d+)% over its 4 texts; "
        r"0.040 against 0.070 nats\)\. The tasks cannot tell: of them 100% \(\d+% to \d+% over its 100 examples\) is "
        r"kept without regularization\. This is one edited model: "
        r"the intervals are over its own facts, examples and texts\.",
        headline["finding"],
    )
    assert found
    assert int(found[1]) < 57 < int(found[2]) < 100
    assert headline["scores"].endswith("Drift: unregularized 0.070, rect 20 0.040.")


def test_tasks_that_were_not_asked_are_not_said_to_be_blind() -> None:
    text = drifting([[0.09, 0.05, 0.08, 0.06]], [[0.05, 0.03, 0.05, 0.03]], tasks=False)["finding"]
    assert "0.040 against 0.070 nats). No tasks were asked. This is one edited model" in text


def test_that_drift_is_no_less_is_said_as_well() -> None:
    text = drifting([[0.09, 0.05, 0.08, 0.06]], [[0.05, 0.09, 0.05, 0.03]])["finding"]
    assert "That it drifts less is not shown. The tasks cannot tell" in text
    text = drifting([[0.08] * 3, [0.06] * 3, [0.09] * 3], [[0.05] * 3, [0.03] * 3, [0.06] * 3])["finding"]
    assert "over 3 edited models; 0.047 against 0.077 nats" in text
    assert "not shown" not in text.split("nats")[1].split("tasks")[0]


def test_what_ended_early_is_named() -> None:
    rows = sweep(n=10_000)
    rows = rows[~((rows["k"] == 20) & (rows["n_edits"] > 2))]
    (headline,) = headlines(tradeoff.tradeoff(rows), NOTHING)
    assert headline["title"].endswith("after 6 edits")
    assert headline["finding"].endswith("Not compared, with fewer edits: rect 20 after 2 edits.")


def test_headline_with_seeds_has_intervals() -> None:
    (headline,) = told(sweep(seeds=(0, 1, 2), n=10_000))
    assert re.search(r"keeps \d+% \(\d+% to \d+% over 3 edited models\) of the editing", headline["finding"])
    assert (
        "That it keeps at least 95% is shown (test of non-inferiority, p < 0.001); by that test" in headline["finding"]
    )
    assert "one edited model" not in headline["finding"]


def test_headline_where_no_k_is_enough() -> None:
    (headline,) = headlines(tradeoff.tradeoff(sweep(ks=(20,))), NOTHING)
    assert re.fullmatch(
        r"rect: no k reaches 95%; the best is (\d+)% at k = 20 \(share of the editing kept\)\. "
        r"rect 20 keeps \d+% of the tasks, against \d+% of the tasks without regularization\.",
        headline["finding"],
    )
    assert "rect 20 0." in headline["scores"]


def test_drift_is_told_too_where_no_k_is_enough() -> None:
    rows = test_ability.rows({"none": test_ability.MORE, "rect-20": test_ability.LESS})
    rows.loc[rows["name"].str.startswith("generalization") & (rows["k"] == 20), "value"] = 0.5
    table = tradeoff.tradeoff(rows)
    kept = retention.kept(table, retention.sides(rows, None, table))
    (headline,) = headlines(ability.chosen(table, kept), ability.with_drift(kept, rows, table))
    assert headline["finding"].startswith(
        "rect: no k reaches 95%; the best is 74% at k = 20 (share of the editing kept). rect 20 drifts 64% as far from"
    )


def test_headline_where_nothing_was_edited_names_no_column() -> None:
    table = tradeoff.tradeoff(sweep(ks=(20,))).assign(edit_retention=float("nan"))
    (headline,) = headlines(table, NOTHING)
    assert headline["finding"] == "rect: what it keeps of the editing is not known."


def test_headline_without_regularizers() -> None:
    rows = sweep(ks=())
    (headline,) = headlines(tradeoff.tradeoff(rows[rows["regularizer"] == "none"]), NOTHING)
    assert headline["finding"] == "No regularizer was run."
    assert headline["scores"].startswith("Mean task score: unedited 0.4")


def test_unknown_share_is_said() -> None:
    table = tradeoff.tradeoff(sweep(tasks=("nli",), n=50))
    (headline,) = headlines(table, NOTHING)
    assert "an unknown share of the tasks" in headline["finding"]


@pytest.mark.parametrize(
    ("k_low", "k_high", "said"),
    [
        (40.0, 80.0, "the smallest k is between 40 and 80."),
        (80.0, 80.0, "the smallest k is 80."),
        (80.0, float("inf"), "the smallest k is 80 or larger: none that was run is sure to be enough."),
        (float("inf"), float("inf"), "the smallest k is larger than any that was run."),
    ],
)
def test_how_sure_the_choice_is(k_low: float, k_high: float, said: str) -> None:
    rows = sweep(ks=(20, 80), n=10_000)
    table = tradeoff.tradeoff(rows)
    sure = retention.kept(table, retention.sides(rows, None, table)).assign(k_low=k_low, k_high=k_high)
    (headline,) = headlines(table, sure)
    assert headline["finding"].endswith(f"Over its facts {said}")
    several = sure.assign(edit_retention_models=3, task_retention_models=3, p_keeps=0.3)
    (headline,) = headlines(table, several)
    test = "That it keeps at least 95% is not shown (test of non-inferiority, p = 0.3); by that test"
    assert headline["finding"].endswith(f"{test} {said}")


def test_of_one_edited_model_nothing_is_said_of_others() -> None:
    (headline,) = told(sweep(ks=(20, 80), n=10_000))
    assert re.search(r"keeps \d+% \(\d+% to \d+% over its 6 facts\) of the editing", headline["finding"])
    assert "This is one edited model: the intervals are over its own facts, examples and texts." in headline["finding"]
    assert not re.search(r"signific|shown|\bp\b|test|edited models", headline["finding"])


def test_one_fact_has_no_interval() -> None:
    rows = sweep(ks=(20, 80), checkpoints=(1,), n=10_000)
    rows.loc[rows["kind"] == "edit", "stderr"] = float("nan")
    (headline,) = told(rows)
    assert re.search(r"it keeps \d+% of the editing", headline["finding"])
    assert "facts" not in headline["finding"]
