"""The report's sentences on RECT against its controls and on the order of methods, against ones written by hand."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from scipy import stats

from sweeps.report import controls
from sweeps.results import tradeoff
from tests.sweeps.synthetic_rows import NONE, outputs, row, sweep, unedited

NO_OUTPUTS = pd.DataFrame()


def rows(seeds: int, control: str = "random", spread: float = 0.01) -> pd.DataFrame:
    """RECT 40 holds nearly every fact, the control few; RECT 20 has no counterpart."""
    lines = [row("base", 0, "task", "ner/score", 0.5, **unedited())]
    for name, k, value in (("rect", 40.0, 0.95), (control, 40.0, 0.1), ("rect", 20.0, 0.9)):
        for seed in range(seeds):
            fact, ids = "reliability/token_accuracy", {"regularizer": name, "k": k, "seed": seed}
            own = value + spread * seed * (name == "rect")
            lines.append(row(f"{name}{k}{seed}", 6, "edit", fact, own, stderr=0.02, n=50, **ids))
    return pd.DataFrame(lines)


def test_a_difference_that_is_shown() -> None:
    found = controls.paired(rows(3), NO_OUTPUTS)
    compared, alone = found["blocks"]
    assert compared["title"] == "m, rome, instance-sequential, after 6 edits: rect 40 against random 40"
    assert compared["sentence"].startswith("RECT is ahead in reliability (+0.860, +0.835 to +0.885, 3 edited models). ")
    assert compared["lines"][0][:4] == ["reliability", 0.96, 0.1, 0.86]
    assert compared["lines"][0][6:8] == [pytest.approx(stats.ttest_1samp([0.85, 0.86, 0.87], 0).pvalue, rel=1e-3), 3]
    assert "paired t over edited models" in found["note"]
    json.dumps(found, allow_nan=False)
    # What is missing is named.
    assert "Missing: locality: not measured: rect 40, random 40." in compared["sentence"]
    assert compared["lines"][2] == ["locality", *[None] * 6, 0, 0, "locality: not measured: rect 40, random 40"]
    assert alone["title"] == "m, rome, instance-sequential: not compared"
    assert alone["sentence"] == "Not compared: rect 20 with random (no cell at this k)."


def test_of_one_edited_model_nothing_is_called_shown() -> None:
    """The difference is forty standard errors, and says nothing of regularizers: it is one model's."""
    found = controls.paired(rows(1), NO_OUTPUTS)
    sentence = found["blocks"][0]["sentence"]
    assert sentence.startswith(
        "On this one edited model RECT is higher in reliability (+0.850, +0.794 to +0.906, 50 facts)."
    )
    assert not re.search(r"signific|shown|ahead|behind|\bp\b|t-test|edited models", sentence)
    assert not re.search(r"signific|shown|ahead|behind|\bp:", found["note"])
    assert found["blocks"][0]["lines"][0][6] is None


def test_two_seeds_that_differ_show_nothing() -> None:
    sentence = controls.paired(rows(2, spread=0.2), NO_OUTPUTS)["blocks"][0]["sentence"]
    assert sentence.startswith("No difference is shown in reliability (+0.950, -0.321 to +2.221, 2 edited models).")


def test_the_number_of_comparisons_counts() -> None:
    """A difference that one comparison shows, and two do not."""
    one, two = rows(3, spread=0.47), rows(3, "magnitude", 0.47).query("regularizer == 'magnitude'")
    assert "RECT is ahead" in controls.paired(one, NO_OUTPUTS)["blocks"][0]["sentence"]
    blocks = controls.paired(pd.concat([one, two]), NO_OUTPUTS)["blocks"]
    assert [block["against"] for block in blocks] == ["random 40", "magnitude 40", ""]
    assert all(block["sentence"].startswith("No difference is shown") for block in blocks[:2])
    assert blocks[2]["sentence"] == (
        "Not compared: rect 20 with random (no cell at this k); rect 20 with magnitude (no cell at this k)."
    )


def test_equal_sides_show_no_difference() -> None:
    sentence = controls.paired(rows(3).assign(value=1.0), NO_OUTPUTS)["blocks"][0]["sentence"]
    assert sentence.startswith("No difference is shown in reliability (+0.000,")


@pytest.mark.parametrize(("gone", "names"), [("random", "magnitude or pca or pca-release or random"), ("rect", "rect")])
def test_nothing_to_compare(gone: str, names: str) -> None:
    part = rows(3).query("regularizer != @gone")
    found = controls.paired(part, NO_OUTPUTS)
    assert found == {"note": f"Nothing to compare: this sweep has no cell with {names}.", "blocks": []}


def test_examples_are_pairs_too() -> None:
    made = sweep(ks=(40,), tasks=("ner", "nli"))
    (block,) = controls.paired(made, outputs(made, 3))["blocks"]
    assert [line[0] for line in block["lines"]] == [
        "reliability",
        "generalization",
        "locality",
        "all tasks",
        "ner",
        "nli",
    ]
    assert [line[8] for line in block["lines"]] == [6, 6, 6, 400, 200, 200]  # the outputs are not those of the scores


def table(*cells: tuple[str, float, float, float, int]) -> pd.DataFrame:
    names = ("regularizer", "k", "edit_score", "task_retention", "seed")
    same = {
        "model": "m",
        "setting": "instance-sequential",
        "method": "rome",
        "batch_size": 1,
        "n_edits": 6,
        "cell": "c",
    }
    return pd.DataFrame([same | dict(zip(names, cell, strict=True)) for cell in cells])


def test_order_of_one_seed_is_called_uncertain() -> None:
    cells = ("none", NONE, 1.0, 0.5, 0), ("rect", 40.0, 0.8, 0.8, 0), ("pca", 40.0, 0.8, NONE, 0)
    found = controls.ranking(table(*cells))
    (block,) = found["blocks"]
    assert block["title"] == "m, instance-sequential, after 6 edits"
    assert block["sentence"] == (
        "First: rome rect 40 (balance 0.800), before rome none (0.667). One edited model each: how others would be "
        "ordered is not known. Not ranked: rome pca 40 (task_retention is missing)."
    )
    assert found["note"].endswith("95% interval over the facts and examples of one edited model.")
    assert [line[:3] for line in block["lines"]] == [
        ["rome rect 40", 1, 0.8],
        ["rome none", 2, 0.66667],
        ["rome pca 40", None, None],
    ]


@pytest.mark.parametrize(
    ("spread", "said"), [(0.001, "It is shown to be ahead of"), (0.2, "It is not shown to be ahead of")]
)
def test_order_says_of_whom_the_first_is_shown_to_be_ahead(spread: float, said: str) -> None:
    cells = [
        (name, k, value + sign * step, value + sign * step, seed)
        for name, k, value, sign in (("rect", 40.0, 0.75, 1), ("none", NONE, 0.5, -1))
        for seed, step in enumerate((-spread, 0.0, spread))
    ]
    (block,) = controls.ranking(table(*cells))["blocks"]
    assert block["sentence"].endswith(f"{said} rome none.")


def test_equal_ones_are_first_together() -> None:
    (block,) = controls.ranking(table(("none", NONE, 0.5, 0.5, 0), ("rect", 40.0, 0.5, 0.5, 0)))["blocks"]
    assert block["sentence"].startswith("First, equal: rome none and rome rect 40 (balance 0.500).")


def test_nothing_to_rank() -> None:
    assert controls.ranking(tradeoff.tradeoff(sweep().iloc[:0]))["blocks"] == []
    (block,) = controls.ranking(table(("none", NONE, 0.5, NONE, 0)))["blocks"]
    assert block["sentence"].startswith("Nothing to rank here: no line has both sides. Not ranked: rome none")


def test_an_order_by_tasks_that_cannot_tell_says_so() -> None:
    made = table(("none", NONE, 0.9, 0.5, 0), ("rect", 40.0, 0.8, 0.9, 0))
    (block,) = controls.ranking(made.assign(ability="text"))["blocks"]
    assert block["sentence"].startswith(
        "The tasks cannot tell here, so half of each balance is chance. First: rome rect 40"
    )
    (block,) = controls.ranking(made.assign(ability="tasks"))["blocks"]
    assert block["sentence"].startswith("First: rome rect 40")
