"""Two sweeps side by side: what differs, how sure that is, what only one has."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from modelfolder.errors import InputError
from sweeps.report import between
from sweeps.store.schema import OUTPUTS, ROWS
from sweeps.store.store import Store
from tests.sweeps.synthetic_rows import NONE, row, unedited


def sweep(
    name: str, reliability: list[float], ner: list[float], edits: object = "same", **more: object
) -> between.Sweep:
    """One edited cell and the unedited one."""
    lines = [row(f"{name}-base", 0, "task", "ner/score", 0.5, stderr=0.03, **unedited())]
    fact = "reliability/token_accuracy"
    lines.append(row(name, 4, "edit", fact, sum(reliability) / len(reliability), **more))
    lines += [row(name, 4, "edit", f"{fact}/fact-{i}", v, **more) for i, v in enumerate(reliability)]
    lines.append(row(name, 4, "task", "ner/score", sum(ner) / len(ner), stderr=0.1, **more))
    outputs = pd.DataFrame(
        [
            {"cell": name, "n_edits": 4, "task": "ner", "index": i, "prompt": f"question {i}", "output": "o"}
            | {
                "gold": '"g"',
                "score": v,
                "evaluation": "task-1",
                "unit": str(i),
                "numerator": NONE,
                "denominator": NONE,
            }
            for i, v in enumerate(ner)
        ]
    )
    return between.Sweep(name, pd.DataFrame(lines), outputs, edits)


def test_by_hand() -> None:
    a = sweep("a", [1.0, 0.5, 0.0, 1.0], [0.0, 0.0, 1.0])
    b = sweep("b", [1.0, 1.0, 1.0, 1.0], [1.0, 0.5, 1.0])
    table = between.differences(a, b)
    assert sorted(table["what"]) == ["ner", "ner", "reliability"]
    edited = table[table["setting"] != "unedited"].set_index("what")
    theirs = stats.ttest_1samp([0, 0.5, 1, 0], 0)
    assert edited.loc["reliability", "difference"] == pytest.approx(0.375)
    assert edited.loc["reliability", "how"] == "one model each, its facts paired"
    assert edited.loc["reliability", "p"] == pytest.approx(theirs.pvalue)
    assert edited.loc["reliability", "high"] == pytest.approx(theirs.confidence_interval(0.95).high)
    assert edited.loc["ner", "how"] == "one model each, its examples paired"
    assert edited.loc["ner", "p"] == pytest.approx(stats.ttest_1samp([1, 0.5, 0], 0).pvalue)
    assert (table["p_adjusted"].dropna() >= table["p"].dropna()).all()
    same = table[table["setting"] == "unedited"].iloc[0]
    assert (same["difference"], same["how"]) == (0.0, "one model each, by standard errors")
    assert same["p"] == 1.0


def several(name: str, values: list[float], edits: object = "same") -> between.Sweep:
    """A seed per value."""
    parts = [sweep(f"{name}{seed}", [v, v], [v], edits, seed=seed) for seed, v in enumerate(values)]
    rows, outputs = (pd.concat([getattr(part, what) for part in parts]) for what in ("rows", "outputs"))
    return between.Sweep(name, rows, outputs, edits)


def test_seeds_are_the_units_where_there_are_several() -> None:
    """Two facts and one example in each of three edited models are three pairs, not six."""
    first, second = [0.5, 0.7, 0.6], [0.6, 0.75, 0.8]
    table = between.differences(several("a", first), several("b", second)).set_index(["setting", "what"])
    line = table.loc[("instance-sequential", "reliability")]
    assert (line["models"], line["how"]) == (3, "3 edited models, paired")
    assert line["p"] == pytest.approx(stats.ttest_rel(second, first).pvalue)
    other = between.differences(several("a", first), several("b", second, "other")).set_index(["setting", "what"])
    line = other.loc[("instance-sequential", "reliability")]
    assert line["how"] == "3 and 3 edited models, not paired"
    assert line["p"] == pytest.approx(stats.ttest_ind(second, first, equal_var=False).pvalue)


def test_a_sweep_is_never_paired_with_the_rows_of_another() -> None:
    """The same cells in both, and no outputs: the two standard errors add up, they do not cancel."""
    a, b = (sweep("a", [1.0, 1.0], [v]) for v in (0.5, 0.6))
    a, b = (between.Sweep(name, one.rows, one.outputs.iloc[:0]) for name, one in (("a", a), ("b", b)))
    ner = between.differences(a, b).set_index(["setting", "what"]).loc[("instance-sequential", "ner")]
    assert ner["high"] - ner["difference"] == pytest.approx(stats.t.ppf(0.975, 198) * math.hypot(0.1, 0.1))


def test_other_facts_and_prompts_are_not_paired() -> None:
    a, b = sweep("a", [1.0, 0.5, 0.2], [0.0, 1.0]), sweep("b", [1.0, 1.0, 0.0], [1.0, 0.5], edits="other")
    b.outputs["prompt"] = [f"another question {i}" for i in range(2)]
    edited = between.differences(a, b).set_index(["setting", "what"]).loc["instance-sequential"]
    assert (edited["how"] == "one model each, by standard errors").all()
    reliability = edited.loc["reliability"]
    theirs = stats.ttest_ind([1.0, 1.0, 0.0], [1.0, 0.5, 0.2], equal_var=False)
    assert reliability["p"] == pytest.approx(theirs.pvalue)


def test_cells_are_matched_by_what_they_are() -> None:
    a, b = sweep("a", [1.0, 1.0], [1.0]), sweep("b", [1.0, 1.0], [1.0], regularizer="rect", k=40.0)
    table = between.differences(a, b)
    assert set(table["setting"]) == {"unedited"}
    (line,) = between.only(b, a).to_dict("records")
    assert (line["regularizer"], line["k"], line["n_edits"]) == ("rect", 40.0, 4)
    (line,) = between.only(a, b).to_dict("records")
    assert line["regularizer"] == "none"
    assert between.only(a, a).empty


def test_exchanged_sweeps_change_the_sign() -> None:
    a, b = sweep("a", [1.0, 0.5, 0.2], [0.0, 1.0]), sweep("b", [0.4, 1.0, 1.0], [1.0, 1.0])
    there, back = between.differences(a, b), between.differences(b, a)
    assert list(there["difference"]) == pytest.approx(list(-back["difference"]))
    assert list(there["p"]) == pytest.approx(list(back["p"]))


def test_command(tmp_path: Path) -> None:
    for name, scores in (("a", [1.0, 0.0]), ("b", [1.0, 1.0])):
        made = sweep(name, scores, scores)
        Store(tmp_path / name).write(
            name, 4, made.rows[ROWS.names].to_dict("records"), made.outputs[OUTPUTS.names].to_dict("records")
        )
    extra = [row("c", 4, "task", "ner/score", 0.5, regularizer="rect", k=20.0)]
    Store(tmp_path / "b").write("c", 4, extra, [])
    console = Console(record=True, width=160, file=io.StringIO())
    table = between.run(str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "new" / "all.csv"), 0.05, console)
    text = console.export_text()
    assert "3 figures in common, 0 of them differ" in text
    assert "one model each: interval and p are over its facts or examples, of these two models alone" in text
    assert "+0.500" in text
    assert f"only in {tmp_path / 'b'}: m rome instance-sequential rect 20 seed=0, 4 edits" in text
    assert len(pd.read_csv(tmp_path / "new" / "all.csv")) == len(table)
    with pytest.raises(InputError, match="there are no rows"):
        between.run(str(tmp_path / "a"), str(tmp_path / "nothing"), None, 0.05, console)


def test_regularizers_without_k_are_matched_too() -> None:
    a, b = sweep("a", [1.0, 1.0], [1.0], k=NONE), sweep("b", [1.0, 0.0], [1.0], k=NONE)
    assert between.differences(a, b).set_index("what").loc["reliability", "units"] == 2
