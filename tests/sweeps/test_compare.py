"""Two sweeps side by side: what differs, how sure that is, what only one has."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from synthetic_rows import NONE, row, unedited

from rect.errors import InputError
from sweeps import compare
from sweeps.rows import OUTPUTS, ROWS
from sweeps.store import Store


def sweep(
    name: str, reliability: list[float], ner: list[float], edits: object = "same", **more: object
) -> compare.Sweep:
    """One edited cell and the unedited one."""
    lines = [row(f"{name}-base", 0, "task", "ner/score", 0.5, stderr=0.03, **unedited())]
    fact = "reliability/token_accuracy"
    lines.append(row(name, 4, "edit", fact, sum(reliability) / len(reliability), **more))
    lines += [row(name, 4, "edit", f"{fact}/fact-{i}", v, **more) for i, v in enumerate(reliability)]
    lines.append(row(name, 4, "task", "ner/score", sum(ner) / len(ner), stderr=0.1, **more))
    outputs = pd.DataFrame(
        [
            {"cell": name, "n_edits": 4, "task": "ner", "index": i, "prompt": f"question {i}", "output": "o"}
            | {"gold": '"g"', "score": v, "evaluation": "task-1"}
            for i, v in enumerate(ner)
        ]
    )
    return compare.Sweep(name, pd.DataFrame(lines), outputs, edits)


def test_by_hand() -> None:
    a = sweep("a", [1.0, 0.5, 0.0, 1.0], [0.0, 0.0, 1.0])
    b = sweep("b", [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    table = compare.differences(a, b)
    assert sorted(table["what"]) == ["ner", "ner", "reliability"]
    edited = table[table["setting"] != "unedited"].set_index("what")
    assert edited.loc["reliability", "difference"] == pytest.approx(0.375)
    assert edited.loc["reliability", "how"] == "paired facts"
    assert edited.loc["reliability", "pairs"] == 4
    assert edited.loc["reliability", "p"] == pytest.approx(0.5)  # of 4 patterns of the two that differ: ++ and --
    assert edited.loc["ner", "how"] == "paired examples"
    assert edited.loc["ner", "difference"] == pytest.approx(2 / 3)
    assert (table["p_adjusted"].dropna() >= table["p"].dropna()).all()
    same = table[table["setting"] == "unedited"].iloc[0]
    assert (same["difference"], same["how"]) == (0.0, "by standard errors")
    assert same["p"] == 1.0


def test_other_facts_and_prompts_are_not_paired() -> None:
    a, b = sweep("a", [1.0, 0.5], [0.0, 1.0]), sweep("b", [1.0, 1.0], [1.0, 1.0], edits="other")
    b.outputs["prompt"] = "another question"
    edited = compare.differences(a, b).set_index(["setting", "what"]).loc["instance-sequential"]
    assert (edited["how"] == "by standard errors").all()
    ner = edited.loc["ner"]
    assert ner["high"] - ner["difference"] == pytest.approx(1.96 * math.hypot(0.1, 0.1))


def test_cells_are_matched_by_what_they_are() -> None:
    a, b = sweep("a", [1.0, 1.0], [1.0]), sweep("b", [1.0, 1.0], [1.0], regularizer="rect", k=40.0)
    table = compare.differences(a, b)
    assert set(table["setting"]) == {"unedited"}
    (line,) = compare.only(b, a).to_dict("records")
    assert (line["regularizer"], line["k"], line["n_edits"]) == ("rect", 40.0, 4)
    (line,) = compare.only(a, b).to_dict("records")
    assert line["regularizer"] == "none"
    assert compare.only(a, a).empty


def test_exchanged_sweeps_change_the_sign() -> None:
    a, b = sweep("a", [1.0, 0.5, 0.2], [0.0, 1.0]), sweep("b", [0.4, 1.0, 1.0], [1.0, 1.0])
    there, back = compare.differences(a, b), compare.differences(b, a)
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
    table = compare.run(str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "new" / "all.csv"), 0.05, console)
    text = console.export_text()
    assert "3 figures in common, 1 of them differ" in text
    assert "+0.500" in text
    assert f"only in {tmp_path / 'b'}: m rome instance-sequential rect 20 seed=0, 4 edits" in text
    assert len(pd.read_csv(tmp_path / "new" / "all.csv")) == len(table)
    with pytest.raises(InputError, match="there are no rows"):
        compare.run(str(tmp_path / "a"), str(tmp_path / "nothing"), None, 0.05, console)


def test_regularizers_without_k_are_matched_too() -> None:
    a, b = sweep("a", [1.0, 1.0], [1.0], k=NONE), sweep("b", [1.0, 0.0], [1.0], k=NONE)
    assert compare.differences(a, b).set_index("what").loc["reliability", "pairs"] == 2
