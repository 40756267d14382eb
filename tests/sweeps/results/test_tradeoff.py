"""Aggregation against values computed by hand, and its properties."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import tasks as task_package
from sweeps.results import curves, fronts, tradeoff
from tests.sweeps.synthetic_rows import NONE, row, sweep, unedited

RECT40 = {"regularizer": "rect", "k": 40.0}


def edits(cell: str, n_edits: int, scores: tuple[float, ...], **more: object) -> list[dict]:
    return [row(cell, n_edits, "edit", name, v, **more) for name, v in zip(tradeoff.EDIT_METRICS, scores, strict=True)]


def tasks(cell: str, n_edits: int, scores: dict[str, float], stderr: float = 0.01, **more: object) -> list[dict]:
    return [
        row(cell, n_edits, "task", f"{task}/{metric}", v * factor, stderr=stderr, **more)
        for task, v in scores.items()
        for metric, factor in (("score", 1.0), ("score_release", 0.5))
    ] + [row(cell, n_edits, "task", f"{task}/chance", 0.5 * (task == "nli"), **more) for task in scores]


@pytest.fixture
def small() -> pd.DataFrame:
    """One model; regularizers none and rect 40; checkpoints 1 and 3; an unedited model at chance on nli."""
    lines = tasks("base", 0, {"ner": 0.4, "nli": 0.51}, **unedited())
    lines += edits("none", 1, (1.0, 1.0, 1.0, 1.0, 1.0)) + tasks("none", 1, {"ner": 0.36, "nli": 0.5})
    lines += edits("none", 3, (1.0, 1.0, 0.6, 0.8, 0.9)) + tasks("none", 3, {"ner": 0.1, "nli": 0.4})
    lines += edits("rect", 1, (0.5, 0.5, 0.5, 0.5, 1.0), **RECT40)
    lines += edits("rect", 3, (0.9, 0.8, 0.5, 0.7, 0.95), **RECT40)
    lines += tasks("rect", 1, {"ner": 0.4, "nli": 0.5}, **RECT40)
    lines += tasks("rect", 3, {"ner": 0.3, "nli": 0.5}, **RECT40)
    return pd.DataFrame(lines)


def line(table: pd.DataFrame, cell: str) -> pd.Series:
    found = table[table["cell"] == cell]
    assert len(found) == 1
    return found.iloc[0]


def test_tradeoff_by_hand(small: pd.DataFrame) -> None:
    table = tradeoff.tradeoff(small)
    assert list(table["cell"]) == ["base", "none", "rect"]
    rect = line(table, "rect")
    assert rect["n_edits"] == 3
    assert rect["reliability_token_accuracy"] == pytest.approx(0.9)
    assert rect["edit_score"] == pytest.approx(0.7)  # (0.9 + 0.5) / 2
    assert rect["edit_retention"] == pytest.approx(0.7 / 0.8)  # none: (1.0 + 0.6) / 2
    assert rect["edit_retention_preference"] == pytest.approx(0.75 / 0.9)  # (0.8 + 0.7) / (1.0 + 0.8)
    assert rect["task_score"] == pytest.approx(0.4)  # (0.3 + 0.5) / 2
    assert rect["task_score_release"] == pytest.approx(0.2)
    assert rect["ner_retention"] == pytest.approx(0.75)
    assert math.isnan(rect["nli_retention"])  # 0.51 is within 2 x 0.01 of 0.5
    assert rect["task_retention"] == pytest.approx(0.75)
    assert rect["retention_tasks"] == 1
    assert rect["notes"] == "1 of 2 tasks cannot tell what is kept: nli (unedited 0.51 +- 0.01, chance 0.5)"
    none = line(table, "none")
    assert (none["edit_retention"], none["edit_retention_preference"]) == (1.0, 1.0)
    assert none["task_retention"] == pytest.approx(0.25)
    base = line(table, "base")
    assert base["task_retention"] == 1.0
    assert math.isnan(base["edit_score"])
    assert math.isnan(base["edit_retention"])
    assert "edit retention" not in base["notes"]
    assert list(table["pareto"]) == [False, True, True]


def test_within_two_standard_errors_is_chance(small: pd.DataFrame) -> None:
    small.loc[(small["cell"] == "base") & (small["name"] == "nli/score"), "value"] = 0.519
    assert math.isnan(line(tradeoff.tradeoff(small), "rect")["nli_retention"])


def test_nli_counts_once_it_is_above_chance(small: pd.DataFrame) -> None:
    small.loc[(small["cell"] == "base") & (small["name"] == "nli/score"), "value"] = 0.53
    rect = line(tradeoff.tradeoff(small), "rect")
    assert rect["nli_retention"] == pytest.approx(0.5 / 0.53)
    assert rect["task_retention"] == pytest.approx((0.75 + 0.5 / 0.53) / 2)
    assert rect["notes"] == ""


def test_chance_is_the_tasks_own_and_unknown_is_said() -> None:
    def sweep_of(task: str, floor: list[dict]) -> pd.Series:
        lines = [row("u", 0, "task", f"{task}/score", 0.26, stderr=0.005, **unedited())]
        lines += [*edits("none", 5, (1.0,) * 5), row("none", 5, "task", f"{task}/score", 0.25)]
        return line(tradeoff.tradeoff(pd.DataFrame(lines + floor)), "none")

    four = "lm_eval:arc_easy"
    told = [row("none", 5, "task", f"{four}/chance", 0.25)]  # any cell of the evaluation tells
    known = sweep_of(four, told)
    assert math.isnan(known["task_retention"])
    assert f"cannot tell what is kept: {four} (unedited 0.26 +- 0.005, chance 0.25)" in known["notes"]
    assert sweep_of(four, [told[0] | {"value": 0.2}])["task_retention"] == pytest.approx(0.25 / 0.26)
    for floor in ([], [told[0] | {"value": NONE}], [told[0] | {"evaluation": "another", "value": 0.0}]):
        unknown = sweep_of(four, floor)
        assert math.isnan(unknown["task_retention"])
        assert f"{four} (what knowing nothing scores is not known)" in unknown["notes"]
    assert "nli (unedited 0.26 +- 0.005, chance 0.5)" in sweep_of("nli", [])["notes"]  # rows of an earlier version
    assert sweep_of("ner", [])["task_retention"] == pytest.approx(0.25 / 0.26)
    silent = [row("none", 5, "task", "ner/chance", NONE)]
    assert "ner (what knowing nothing scores is not known)" in sweep_of("ner", silent)["notes"]


def test_chance_is_each_models_own() -> None:
    """One model cannot be asked all examples; guessing scores more in those that it is asked."""
    lines = []
    for model, floor in (("tiny", 0.25), ("small", 0.5)):
        u, none = f"u-{model}", f"none-{model}"
        lines += [
            row(u, 0, "task", "lm_eval:mix/score", 0.4, stderr=0.01, model=model, **unedited()),
            row(none, 5, "task", "lm_eval:mix/score", 0.4, model=model),
            row(none, 5, "task", "lm_eval:mix/chance", floor, model=model),
        ]
    kept = tradeoff.tradeoff(pd.DataFrame(lines)).query("setting != 'unedited'").set_index("model")
    assert kept.loc["tiny", "task_retention"] == 1.0
    assert math.isnan(kept.loc["small", "task_retention"])
    assert "unedited 0.4 +- 0.01, chance 0.5" in kept.loc["small", "notes"]


def test_what_guessing_scores_in_our_own_tasks() -> None:
    assert set(tradeoff.GUESSING) == set(task_package.NAMES)
    for name, guessed in tradeoff.GUESSING.items():
        task = task_package.get(name)
        examples = task.examples(limit=5)
        choices = [len(task.choices(example)) for example in examples] if task.has_choices else [math.inf]
        assert guessed == sum(1 / count for count in choices) / len(choices)


def test_unedited_zero_gives_no_retention(small: pd.DataFrame) -> None:
    small.loc[(small["cell"] == "base") & (small["name"] == "ner/score"), ["value", "stderr"]] = 0.0
    rect = line(tradeoff.tradeoff(small), "rect")
    assert math.isnan(rect["ner_retention"])
    assert math.isnan(rect["task_retention"])
    assert rect["retention_tasks"] == 0
    assert "2 of 2 tasks cannot tell what is kept: ner (unedited 0, chance 0), nli (unedited 0.51" in rect["notes"]


def test_a_cell_is_compared_at_its_own_number_of_edits(small: pd.DataFrame) -> None:
    stopped = small[~((small["cell"] == "rect") & (small["n_edits"] == 3))]
    rect = line(tradeoff.tradeoff(stopped), "rect")
    assert rect["n_edits"] == 1
    assert rect["edit_retention"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("gone", "column", "reason"),
    [
        (("none", "edit"), "edit_retention", "no score at 3 edits"),
        (("none", None), "edit_retention", "no cell with regularizer none at 3 edits and seed 0"),
        (("rect", "edit"), "edit_retention", "not measured at 3 edits"),
        (("rect", "task"), "task_retention", "ner was not scored at 3 edits"),
        (("base", None), "task_retention", "the unedited model has no score"),
    ],
)
def test_missing_stays_missing_and_is_named(
    small: pd.DataFrame, gone: tuple[str, str | None], column: str, reason: str
) -> None:
    cell, kind = gone
    rows = small[~((small["cell"] == cell) & ((small["kind"] == kind) if kind else True))]
    rect = line(tradeoff.tradeoff(rows), "rect")
    assert math.isnan(rect[column])
    assert reason in rect["notes"]


def test_one_missing_task_makes_the_mean_missing(small: pd.DataFrame) -> None:
    rows = small[~((small["cell"] == "rect") & (small["name"] == "nli/score"))]
    rect = line(tradeoff.tradeoff(rows), "rect")
    assert rect["ner_score"] == pytest.approx(0.3)
    assert math.isnan(rect["task_score"])
    assert math.isnan(rect["task_retention"])
    assert "nli was not scored at 3 edits" in rect["notes"]
    assert line(tradeoff.tradeoff(rows, tasks=["ner"]), "rect")["task_score"] == pytest.approx(0.3)


def test_facts_without_rephrasings(small: pd.DataFrame) -> None:
    rows = small[~small["name"].str.startswith("generalization")]
    rect = line(tradeoff.tradeoff(rows), "rect")
    assert rect["edit_score"] == pytest.approx(0.9)
    assert rect["edit_retention"] == pytest.approx(0.9)
    # Missing in one cell only it is a gap, not another definition.
    rows = small[~(small["name"].str.startswith("generalization") & (small["cell"] == "rect"))]
    rect = line(tradeoff.tradeoff(rows), "rect")
    assert math.isnan(rect["edit_score"])
    assert "reliability or generalization was not measured" in rect["notes"]


def test_two_reference_cells_are_ambiguous(small: pd.DataFrame) -> None:
    twin = small[small["cell"] == "none"].assign(cell="none-too")
    rect = line(tradeoff.tradeoff(pd.concat([small, twin])), "rect")
    assert math.isnan(rect["edit_retention"])
    assert "2 cells with regularizer none fit" in rect["notes"]


def test_evaluations_are_not_mixed(small: pd.DataFrame) -> None:
    other = small[(small["kind"] == "task") & (small["cell"] == "rect")].assign(evaluation="old", value=0.0)
    pd.testing.assert_frame_equal(tradeoff.tradeoff(pd.concat([other, small])), tradeoff.tradeoff(small))


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_rows_changes_nothing(seed: int) -> None:
    rows = sweep(seeds=(0, 1), ks=(20,), tasks=("ner", "sentiment"), facts=0)
    shuffled = rows.sample(frac=1.0, random_state=seed)
    table = tradeoff.tradeoff(rows)
    pd.testing.assert_frame_equal(table, tradeoff.tradeoff(shuffled))
    pd.testing.assert_frame_equal(curves.curves(rows), curves.curves(shuffled))
    pd.testing.assert_frame_equal(tradeoff.smallest_k(table), tradeoff.smallest_k(tradeoff.tradeoff(shuffled)))


def test_retention_of_the_unregularized_cell_is_one() -> None:
    table = tradeoff.tradeoff(sweep(models=("a", "b"), seeds=(0, 1, 2)))
    none = table[(table["regularizer"] == "none") & (table["setting"] != tradeoff.UNEDITED)]
    assert len(none) == 6
    assert (none["edit_retention"] == 1.0).all()
    assert (none["edit_retention_preference"] == 1.0).all()
    assert (table.loc[table["setting"] == tradeoff.UNEDITED, "task_retention"] == 1.0).all()


points = st.lists(st.tuples(*[st.one_of(st.integers(0, 4).map(float), st.just(NONE))] * 2, st.sampled_from("ab")))


@settings(deadline=None)
@given(points)
def test_front_dominates(drawn: list[tuple[float, float, str]]) -> None:
    table = pd.DataFrame(drawn, columns=["x", "y", "group"])
    front = fronts.pareto(table, "x", "y", by=["group"])

    def beats(p: pd.Series, q: pd.Series) -> bool:
        return bool(
            p["group"] == q["group"] and p["x"] >= q["x"] and p["y"] >= q["y"] and (p["x"] > q["x"] or p["y"] > q["y"])
        )

    for i, q in table.iterrows():
        known = not (math.isnan(q["x"]) or math.isnan(q["y"]))
        beaten = any(beats(p, q) for _, p in table.iterrows())
        assert front[i] == (known and not beaten)


def ended_early(seeds: tuple[int, ...] = (0,)) -> pd.DataFrame:
    """none and rect 40 with 20 edits; rect 20, unharmed, stopped after 5."""
    lines = tasks("base", 0, {"ner": 0.9}, **unedited())
    for seed in seeds:
        for k, n_edits, edit, ability in ((NONE, 20, 0.9, 0.5), (40.0, 20, 0.88, 0.7), (20.0, 5, 0.99, 0.86)):
            ids = {"regularizer": "none" if math.isnan(k) else "rect", "k": k, "seed": seed}
            cell = f"{ids['regularizer']}-{k:g}-{seed}"
            lines += edits(cell, n_edits, (edit,) * 5, **ids) + tasks(cell, n_edits, {"ner": ability}, **ids)
            if n_edits == 5:
                lines += edits("none-nan-" + str(seed), 5, (1.0,) * 5, **ids | {"regularizer": "none", "k": NONE})
                lines.append(row(cell, 5, "stop", "drift >= 4", 5, **ids))
    return pd.DataFrame(lines)


def test_a_stopped_cell_takes_nothing_from_the_front_and_says_so() -> None:
    table = tradeoff.tradeoff(ended_early()).set_index("cell")
    assert table["pareto"].to_dict() == {"base": False, "none-nan-0": True, "rect-20-0": False, "rect-40-0": True}
    assert table.loc["rect-20-0", "edit_retention"] == pytest.approx(0.99)  # to what none had after 5
    assert table.loc["rect-20-0", "stopped"] == "drift >= 4"
    assert table.loc["rect-20-0", "notes"].endswith(
        "stopped after 5 edits: drift >= 4; not compared: it has 5 edits, others of its group 20"
    )
    assert "not compared" not in table.loc["rect-40-0", "notes"]


def test_a_mean_over_those_that_went_on_is_not_compared() -> None:
    rows = ended_early((0, 1))
    longer = (rows["cell"] == "rect-20-1") & (rows["kind"] != "stop")  # as if seed 1 had gone on
    rows.loc[longer, "n_edits"] = 20
    table = tradeoff.tradeoff(rows[~((rows["cell"] == "rect-20-1") & (rows["kind"] == "stop"))])
    mean = tradeoff.over_seeds(table)
    twenty = mean[mean["k"] == 20.0].set_index("n_edits")
    assert twenty.loc[20, "edit_retention"] > 1  # it would be on the front, and the smallest k
    assert list(twenty["seeds_elsewhere"]) == [1, 1]
    assert not twenty["pareto"].any()
    assert tradeoff.smallest_k(table, 0.95)["k"].tolist() == [40.0]


def test_a_regularizer_that_ended_early_throughout_has_no_smallest_k() -> None:
    rows = ended_early()
    (line_,) = tradeoff.smallest_k(tradeoff.tradeoff(rows[rows["k"] != 40.0])).to_dict("records")
    assert math.isnan(line_["k"])
    assert line_["reason"] == "all of it ended before 20 edits"


def test_curves_by_hand(small: pd.DataFrame) -> None:
    second = small[small["cell"] == "none"].assign(cell="none-1", seed=1)
    second.loc[second["name"] == "ner/score", "value"] += 0.04
    curve = curves.curves(pd.concat([small, second]))
    ner = curve[(curve["regularizer"] == "none") & (curve["name"] == "ner/score")].set_index("n_edits")
    assert list(ner.index) == [0, 1, 3]
    assert list(ner["seeds"]) == [1, 2, 2]
    assert list(ner["mean"]) == pytest.approx([0.4, 0.38, 0.12])
    # Two values 0.04 apart: std 0.04 / sqrt 2, so t * std / sqrt 2 = t * 0.02.
    assert ner.loc[3, "high"] - ner.loc[3, "mean"] == pytest.approx(stats.t.ppf(0.975, 1) * 0.02)
    assert math.isnan(ner.loc[0, "low"])  # the unedited model is one, on a curve of two
    assert ner.loc[3, "stderr"] == pytest.approx(0.01)
    rect = curve[(curve["regularizer"] == "rect") & (curve["name"] == "ner/score")]
    assert list(rect["mean"]) == pytest.approx([0.4, 0.4, 0.3])
    assert list(rect["k"]) == [40.0] * 3
    half = stats.t.ppf(0.975, 99) * 0.01  # one seed: over its hundred examples
    assert list(rect["high"] - rect["mean"]) == pytest.approx([half] * 3)
    reliability = curve[(curve["regularizer"] == "rect") & (curve["name"] == "reliability/token_accuracy")]
    assert list(reliability["n_edits"]) == [1, 3]


def test_batch_sizes_of_batch_single_form_one_curve() -> None:
    ids = {"setting": "batch-single", "method": "memit"}
    lines = [row(f"b{b}", 1, "task", "ner/score", 0.4 - b / 100, batch_size=b, **ids) for b in (1, 10)]
    curve = curves.curves(pd.DataFrame(lines))
    assert list(curve["n_edits"]) == [1, 10]
    assert curve["batch_size"].isna().all()


def test_over_seeds_by_hand(small: pd.DataFrame) -> None:
    second = small[small["setting"] != tradeoff.UNEDITED].assign(seed=1, cell=lambda rows: rows["cell"] + "-1")
    second.loc[(second["cell"] == "rect-1") & (second["name"] == "ner/score") & (second["n_edits"] == 3), "value"] = 0.2
    mean = tradeoff.over_seeds(tradeoff.tradeoff(pd.concat([small, second])))
    assert len(mean) == 3
    rect = mean[mean["regularizer"] == "rect"].iloc[0]
    assert rect["seeds"] == 2
    assert rect["task_retention"] == pytest.approx(0.625)  # 0.75 and 0.5
    assert rect["edit_retention"] == pytest.approx(0.875)


def test_smallest_k() -> None:
    table = pd.DataFrame(
        [
            {"cell": f"{regularizer}-{k}", "model": "m", "method": "rome", "setting": "s", "batch_size": 1, "seed": 0}
            | {"regularizer": regularizer, "k": k, "n_edits": n, "edit_retention": kept, "task_retention": 0.5}
            for regularizer, k, n, kept in [
                ("none", NONE, 6, 1.0),
                ("rect", 20.0, 6, 0.7),
                ("rect", 40.0, 6, 0.96),
                ("rect", 80.0, 6, 0.99),
                ("rect", 10.0, 2, 1.0),  # stopped early: not comparable
                ("random", 40.0, 6, 0.3),
                ("pca", 40.0, 6, NONE),
            ]
        ]
    ).assign(pareto=False, notes="")
    best = tradeoff.smallest_k(table, share=0.95).set_index("regularizer")
    assert list(best.index) == ["rect", "random", "pca"]
    assert best.loc["rect", "k"] == 40.0
    assert best.loc["rect", "edit_retention"] == pytest.approx(0.96)
    assert math.isnan(best.loc["random", "k"])
    assert best.loc["random", "reason"] == "no k reaches 95%; the best is 30% at k = 40"
    assert best.loc["pca", "reason"] == "edit_retention is not known for any k"
    assert tradeoff.smallest_k(table, share=0.5).set_index("regularizer").loc["rect", "k"] == 20.0


def test_empty_rows_give_an_empty_table(small: pd.DataFrame) -> None:
    empty = small.iloc[:0]
    assert tradeoff.tradeoff(empty).empty
    assert curves.curves(empty).empty
    assert tradeoff.smallest_k(tradeoff.tradeoff(empty)).empty
