"""The report's sentences on RECT against its controls and on the order of methods, against ones written by hand."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from synthetic_rows import NONE, outputs, row, sweep, unedited

from sweeps import aggregate, report_comparisons

NO_OUTPUTS = pd.DataFrame()


def rows(facts: int, control: str = "random") -> pd.DataFrame:
    """RECT 40 holds every fact, the control none; RECT 20 has no counterpart."""
    lines = [row("base", 0, "task", "ner/score", 0.5, **unedited())]
    for name, k, value in (("rect", 40.0, 1.0), (control, 40.0, 0.0), ("rect", 20.0, 1.0)):
        lines += [
            row(f"{name}{k}", 6, "edit", f"reliability/token_accuracy/fact-{i}", value, regularizer=name, k=k)
            for i in range(facts)
        ]
    return pd.DataFrame(lines)


def test_a_difference_that_is_shown() -> None:
    found = report_comparisons.paired(rows(12), NO_OUTPUTS)
    compared, alone = found["blocks"]
    assert compared["title"] == "m, rome, instance-sequential, after 6 edits: rect 40 against random 40"
    assert compared["sentence"].startswith("RECT is ahead in reliability (+1.000, +1.000 to +1.000, 12 pairs). ")
    assert compared["lines"][0][:4] == ["reliability", 1.0, 0.0, 1.0]
    assert compared["lines"][0][6] == pytest.approx(2 / 2**12, rel=1e-3)
    assert compared["lines"][0][7] == 12
    json.dumps(found, allow_nan=False)
    # What is missing is named.
    assert "Missing: locality was not measured per pair: rect 40, random 40." in compared["sentence"]
    assert compared["lines"][2] == [
        "locality",
        *[None] * 6,
        0,
        "locality was not measured per pair: rect 40, random 40",
    ]
    assert alone["title"] == "m, rome, instance-sequential: not compared"
    assert alone["sentence"] == "Not compared: rect 20 with random (no cell at this k)."


@pytest.mark.parametrize(("facts", "enough"), [(5, False), (6, True)])
def test_too_few_pairs_for_any_test(facts: int, enough: bool) -> None:
    """Five pairs of one comparison cannot give a p below 2 / 32."""
    sentence = report_comparisons.paired(rows(facts), NO_OUTPUTS)["blocks"][0]["sentence"]
    few = f"Too few pairs to tell, with 1 comparison at this k: reliability (+1.000, +1.000 to +1.000, {facts} pairs)."
    assert (few in sentence) is not enough
    assert ("RECT is ahead" in sentence) is enough


def test_the_number_of_comparisons_counts() -> None:
    """Six pairs are enough for one comparison and too few for two."""
    both = pd.concat([rows(6), rows(6, "magnitude").query("regularizer == 'magnitude'")])
    blocks = report_comparisons.paired(both, NO_OUTPUTS)["blocks"]
    assert [block["against"] for block in blocks] == ["random 40", "magnitude 40", ""]
    assert all("with 2 comparisons at this k: reliability" in block["sentence"] for block in blocks[:2])
    assert blocks[2]["sentence"] == (
        "Not compared: rect 20 with random (no cell at this k); rect 20 with magnitude (no cell at this k)."
    )


def test_equal_sides_show_no_difference() -> None:
    table = rows(12).assign(value=1.0)
    sentence = report_comparisons.paired(table, NO_OUTPUTS)["blocks"][0]["sentence"]
    assert sentence.startswith("No difference is shown in reliability (+0.000, +0.000 to +0.000, 12 pairs).")


@pytest.mark.parametrize(("gone", "names"), [("random", "magnitude or pca or pca-release or random"), ("rect", "rect")])
def test_nothing_to_compare(gone: str, names: str) -> None:
    part = rows(3).query("regularizer != @gone")
    found = report_comparisons.paired(part, NO_OUTPUTS)
    assert found == {"note": f"Nothing to compare: this sweep has no cell with {names}.", "blocks": []}


def test_examples_are_pairs_too() -> None:
    made = sweep(ks=(40,), tasks=("ner", "nli"))
    (block,) = report_comparisons.paired(made, outputs(made, 3))["blocks"]
    assert [line[0] for line in block["lines"]] == [
        "reliability",
        "generalization",
        "locality",
        "all tasks",
        "ner",
        "nli",
    ]
    assert [line[7] for line in block["lines"]] == [4, 4, 4, 2, 3, 3]


def table(*cells: tuple[str, float, float, float, int]) -> pd.DataFrame:
    names = ("regularizer", "k", "edit_score", "task_retention", "seed")
    same = {"model": "m", "setting": "instance-sequential", "method": "rome", "batch_size": 1, "n_edits": 6}
    return pd.DataFrame([same | dict(zip(names, cell, strict=True)) for cell in cells])


def test_order_of_one_seed_is_called_uncertain() -> None:
    cells = ("none", NONE, 1.0, 0.5, 0), ("rect", 40.0, 0.8, 0.8, 0), ("pca", 40.0, 0.8, NONE, 0)
    (block,) = report_comparisons.ranking(table(*cells))["blocks"]
    assert block["title"] == "m, instance-sequential, after 6 edits"
    assert block["sentence"] == (
        "First: rome rect 40 (balance 0.800), before rome none (0.667). One seed each, so there is no interval: how "
        "much of this order is chance is not known. Not ranked: rome pca 40 (task_retention is missing)."
    )
    assert [line[:3] for line in block["lines"]] == [
        ["rome rect 40", 1, 0.8],
        ["rome none", 2, 0.66667],
        ["rome pca 40", None, None],
    ]


@pytest.mark.parametrize(
    ("spread", "said"),
    [(0.001, "Its interval overlaps with no other."), (0.2, "overlaps with that of rome none.")],
)
def test_order_says_whose_intervals_overlap(spread: float, said: str) -> None:
    cells = [
        (name, k, value + sign * spread, value + sign * spread, seed)
        for name, k, value in (("rect", 40.0, 0.75), ("none", NONE, 0.5))
        for seed, sign in enumerate((-1, 1))
    ]
    (block,) = report_comparisons.ranking(table(*cells))["blocks"]
    assert block["sentence"].endswith(said)


def test_equal_ones_are_first_together() -> None:
    (block,) = report_comparisons.ranking(table(("none", NONE, 0.5, 0.5, 0), ("rect", 40.0, 0.5, 0.5, 0)))["blocks"]
    assert block["sentence"].startswith("First, equal: rome none and rome rect 40 (balance 0.500).")


def test_nothing_to_rank() -> None:
    assert report_comparisons.ranking(aggregate.tradeoff(sweep().iloc[:0]))["blocks"] == []
    (block,) = report_comparisons.ranking(table(("none", NONE, 0.5, NONE, 0)))["blocks"]
    assert block["sentence"].startswith("Nothing to rank here: no line has both sides. Not ranked: rome none")
