"""Rows and outputs as figures: what stands behind them, and that it is what is reported."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

import tasks
from sweeps.results.measured import Measurements
from tasks.records import Example
from tests.sweeps.synthetic_rows import row

FACT = "token_accuracy/fact-"


def answers(cell: str, task: str, scores: list[float], **more: Any) -> list[dict[str, Any]]:
    return [
        {"cell": cell, "n_edits": 3, "task": task, "index": i, "score": v, "evaluation": "e", "prompt": f"q{i}"} | more
        for i, v in enumerate(scores)
    ]


def ner(cell: str, said: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]], Any]:
    """Row, outputs and the score itself of sentences asked for persons and places."""
    task = tasks.get("ner")
    gold = {"Person": ["Anna"], "Location": []}
    examples = [
        Example(f"{i // 2}/{t}", {"type": t, "sentence": "s"}, gold[t])
        for i, t in enumerate([*gold] * (len(said) // 2))
    ]
    score = task.score(said, examples)["score"]
    lines = []
    for i, (text, example) in enumerate(zip(said, examples, strict=True)):
        above, below = task.counts(text, example) or (math.nan, math.nan)
        line = {"cell": cell, "n_edits": 3, "task": "ner", "index": i, "prompt": "p", "evaluation": "e"}
        line |= {"score": task.judge(text, example).score, "unit": task.unit(example)}
        lines.append(line | {"numerator": above, "denominator": below})
    more = {"stderr": score.stderr, "n": score.n, "evaluation": "e"}
    return row(cell, 3, "task", "ner/score", score.value, **more), lines, score


def test_ner_is_resampled_by_sentences_as_it_is_scored() -> None:
    line, lines, score = ner("a", [" Anna", "", " Anna", " Rome", " Bert", "", " Anna, Bert", " Rome"])
    found = Measurements(pd.DataFrame([line]), pd.DataFrame(lines)).figure("a", 3, "ner")
    assert found.value == pytest.approx(score.value)
    assert found.stderr == pytest.approx(score.stderr)
    assert found.units == 4  # sentences, not pairs


def test_scores_that_do_not_give_the_reported_figure_are_not_its_examples() -> None:
    """Judgements of pairs averaged are no micro F1: outputs of an earlier version have nothing else."""
    line, lines, score = ner("a", [" Anna", "", " Anna", " Rome", " Bert", "", " Anna", ""])
    old = pd.DataFrame(lines).drop(columns=["unit", "numerator", "denominator"])
    found = Measurements(pd.DataFrame([line]), old).figure("a", 3, "ner")
    assert (found.value, found.stderr) == (score.value, score.stderr)
    assert [len(part.terms) for part in found.parts.values()] == [1]


def test_facts_without_rephrasings_count_where_they_have_a_value() -> None:
    values = {"reliability": [1.0, 0.5, 0.0, 1.0], "generalization": [1.0, None, 0.0, None]}
    lines = []
    for name, each in values.items():
        known = [(i, v) for i, v in enumerate(each) if v is not None]
        lines += [row("a", 3, "edit", f"{name}/{FACT}{i}", v) for i, v in known]
        mean = sum(v for _, v in known) / len(known)
        lines.append(row("a", 3, "edit", f"{name}/token_accuracy", mean, n=len(known)))
    found = Measurements(pd.DataFrame(lines))
    assert found.figure("a", 3, "generalization").value == 0.5
    score = found.edit_score("a", 3)
    assert score.value == pytest.approx((0.625 + 0.5) / 2)
    # By hand: each fact's term is (r - 0.625) / 4 / 2, and (g - 0.5) / 2 / 2 where it has rephrasings.
    terms = [0.375 / 8 + 0.5 / 4, -0.125 / 8, -0.625 / 8 - 0.5 / 4, 0.375 / 8]
    assert score.variance == pytest.approx(4 / 3 * sum(term**2 for term in terms))
    assert score.units == 4


def test_reliability_alone_where_no_fact_of_the_sweep_has_a_rephrasing() -> None:
    lines = [row("a", 3, "edit", "reliability/token_accuracy", 0.8)]
    assert Measurements(pd.DataFrame(lines)).edit_score("a", 3).value == 0.8
    lines.append(row("b", 3, "edit", "generalization/token_accuracy", 0.6))
    assert math.isnan(Measurements(pd.DataFrame(lines)).edit_score("a", 3).value)


def test_examples_pair_within_an_evaluation_and_by_prompt_between_sweeps() -> None:
    scores = [1.0, 0.0, 1.0, 1.0]
    line = [row("a", 3, "task", "nli/score", 0.75, evaluation="e")]

    def keys(prompts: bool, **more: Any) -> set[Any]:
        return {
            *Measurements(pd.DataFrame(line), pd.DataFrame(answers("a", "nli", scores, **more)), prompts=prompts)
            .figure("a", 3, "nli")
            .parts
        }

    assert keys(False) == keys(False, prompt=None)
    assert keys(True) != keys(True, prompt="other")
    assert keys(True) == keys(True, output="text")
    one, other = (Measurements(pd.DataFrame(line), sweep=name).figure("a", 3, "nli") for name in "ab")
    assert not set(one.parts) & set(other.parts)  # two sweeps' rows are never one, whatever their cells are called


def test_what_was_not_measured_is_missing() -> None:
    found = Measurements(pd.DataFrame([row("a", 3, "task", "nli/score", 0.75)]))
    assert math.isnan(found.figure("a", 4, "nli").value)
    assert math.isnan(found.figure("a", 3, "reliability").value)
    assert found.figure("a", 3, "nli").stderr == 0.01


def test_outputs_of_other_points_than_are_asked_for_are_as_none() -> None:
    rows = pd.DataFrame([row("a", 3, "task", "nli/score", 0.75, evaluation="e")])
    outputs = pd.DataFrame(answers("a", "nli", [1.0, 0.0, 1.0, 1.0]))
    for n_edits, units in ((3, 4), (4, 0)):
        points = pd.DataFrame({"cell": ["a"], "n_edits": [n_edits]})
        assert len(Measurements(rows, outputs.assign(n_edits=3), points)._outputs.columns.get("above", ())) == units
