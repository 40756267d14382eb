"""The trade-off in the terminal: every cell, in 80 columns, below what is true of it."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from rich.console import Console

from sweeps.report import terminal
from sweeps.results import tradeoff
from tests.sweeps.synthetic_rows import sweep


def printed(rows: pd.DataFrame, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    terminal.show(tradeoff.tradeoff(rows), console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_long_names_stand_above_their_cells() -> None:
    rows = sweep(models=("gpt2",), ks=(20,))
    other = rows.assign(cell="other-" + rows["cell"], method="easyeditor:ROME")
    lines = printed(pd.concat([rows, other[other["setting"] != tradeoff.UNEDITED]]))
    (title,) = rows.loc[rows["setting"] != tradeoff.UNEDITED, "method"].unique()
    assert lines[0].startswith("gpt2, ")
    titles = [line for line in lines if line in (title, "easyeditor:ROME")]
    assert sorted(titles) == sorted([title, "easyeditor:ROME"])
    cells = [line.split("  ")[0] for line in lines]
    assert cells.count("rect 20") + cells.count("rect 20 *") == 2


def test_numbers_stand_beside_them_and_nothing_is_cut() -> None:
    rows = sweep(models=("gpt2", "llama"), ks=(20,), seeds=(0, 1))
    wide = rows.assign(cell="wide-" + rows["cell"], batch_size=1000)
    lines = printed(pd.concat([rows, wide[wide["setting"] != tradeoff.UNEDITED]]))
    (header,) = [line for line in lines if "edits" in line and "drift" in line]
    assert header.endswith("lexity")
    assert max(map(len, lines)) <= 80
    beside = [line.split()[-11:-9] for line in lines if line.startswith("none")]
    assert sorted(beside) == sorted([[size, seed] for size in ("1", "1000") for seed in ("0", "1")] * 2)


@pytest.mark.parametrize("width", [30, 60, 79])
def test_no_digit_is_lost_where_the_terminal_is_narrow(width: int) -> None:
    rows = sweep(models=("gpt2", "llama"), ks=(20,), seeds=(0, 1))
    rows = pd.concat([rows, rows[rows["k"] == 20].assign(regularizer="rect@checkpoint", cell="wide-" + rows["cell"])])
    assert printed(rows, width)[:-1] == printed(rows, 200)[:-1]  # below it a sentence, which may be broken


def test_groups_stand_below_one_heading() -> None:
    rows = sweep(models=("gpt2", "llama"), ks=(20,))
    rows.loc[(rows["model"] == "llama") & (rows["setting"] != tradeoff.UNEDITED), "n_edits"] *= 10**6
    edits = {
        line.index("0000 ") + 4 if "0000 " in line else line.index(" 6 ") + 2
        for line in printed(rows)
        if line.startswith("none")
    }
    assert len(edits) == 1


def test_what_ended_early_is_marked() -> None:
    rows = sweep(ks=(20, 40))
    lines = printed(rows[~((rows["k"] == 20) & (rows["n_edits"] > 2))])
    assert [line.split("  ")[0] for line in lines if line.startswith("rect")] == ["rect 20 !", "rect 40 *"]
    assert lines[-1] == "* on the front of editing against tasks kept   ! fewer edits: not compared"
    assert printed(rows)[-1] == "* on the front of editing against tasks kept"


def test_drift_and_perplexity_stand_in_it() -> None:
    rows = sweep(ks=(20,))
    (line,) = [line for line in printed(rows) if line.startswith("rect 20")]
    perplexity = rows[(rows["k"] == 20) & (rows["n_edits"] == 6) & (rows["name"] == "perplexity")]["value"].item()
    assert line.split()[-2:] == ["-", f"{perplexity:.1f}"]
    broken = rows.assign(value=rows["value"].where(rows["name"] != "perplexity", 3.2e12))
    (line,) = [line for line in printed(broken) if line.startswith("rect 20")]
    assert line.endswith(" 3e+12")
    read = tradeoff.tradeoff(rows).assign(ability="text")
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal.of(read))
    assert "* on the front of editing against drift" in console.file.getvalue()  # type: ignore[attr-defined]
