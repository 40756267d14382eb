"""`sweeps export`: the same numbers in each format, and nothing that breaks the reader."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from modelfolder.errors import InputError
from sweeps.report import export, gather
from sweeps.store.schema import OUTPUTS, ROWS
from sweeps.store.store import Store
from tests.sweeps.synthetic_rows import outputs, sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep")
    rows = sweep(ks=(20, 40), tasks=("ner", "sentiment"))
    made = outputs(rows, 2)
    rows["n"] = rows["n"].astype(int)
    Store(path).write("all", 1, rows[ROWS.names].to_dict("records"), made[OUTPUTS.names].to_dict("records"))
    return path


def test_csv_and_parquet_hold_every_column(folder: Path) -> None:
    wanted = gather.gather(folder).tradeoff
    written = pd.read_csv(export.export(folder))
    pd.testing.assert_series_equal(written["edit_retention"], wanted["edit_retention"])
    assert list(written.columns) == list(wanted.columns)
    path = export.export(folder, format="parquet")
    assert path.endswith("tradeoff.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), wanted, check_dtype=False)


@pytest.mark.parametrize("what", export.TABLES)
@pytest.mark.parametrize("format", ["markdown", "parquet"])
def test_every_table_in_every_kind_of_format(folder: Path, what: str, format: str) -> None:
    assert Path(export.export(folder, what, format)).stat().st_size > 50


def test_markdown_by_hand() -> None:
    table = pd.DataFrame({"a_name": ["x|y", "two\nlines"], "value": [0.5, float("nan")], "n": [1, 2]})
    assert export.encode(table, "markdown").decode().splitlines() == [
        "| a name | value | n |",
        "| --- | ---: | ---: |",
        "| x\\|y | 0.5 | 1 |",
        "| two lines | - | 2 |",
    ]


def test_latex_leaves_no_row_out_and_takes_any_mark() -> None:
    table = pd.DataFrame({"note": [f"{i}: \\ ~ ^ {{}} $ # two\nlines" for i in range(50)]}, index=[0] * 50)
    with pd.option_context("styler.render.max_elements", 10):
        lines = export.encode(table, "latex").decode().splitlines()
    assert len(lines) == 50 + 6
    assert (
        lines[-3] == r"49: \textbackslash \space \textasciitilde \space \textasciicircum \space \{\} \$ \# two lines \\"
    )


def test_latex_by_hand() -> None:
    table = pd.DataFrame({"model_name": ["a_b & 5%"], "score": [1 / 3]})
    assert export.encode(table, "latex").decode().splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"model name & score \\",
        r"\midrule",
        r"a\_b \& 5\% & 0.333 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_tables_to_be_read_are_short(folder: Path, tmp_path: Path) -> None:
    path = export.export(folder, "tradeoff", "markdown", str(tmp_path / "new" / "table.md"))
    head = Path(path).read_text().splitlines()[0]
    assert "edit retention" in head
    assert "ner retention" not in head


def test_the_smallest_k_has_its_interval(folder: Path) -> None:
    table = pd.read_csv(export.export(folder, "smallest-k"))
    rect = table[table["regularizer"] == "rect"].iloc[0]
    assert (rect["edit_retention_models"], rect["edit_retention_units"]) == (1, 6)
    assert rect["k_low"] <= rect["k_high"]


def test_tables_of_free_generation_are_there_without_any(folder: Path) -> None:
    for what in ("answers", "agreement"):
        assert pd.read_csv(export.export(folder, what)).empty


def test_bad_input(folder: Path) -> None:
    with pytest.raises(InputError, match="--what tradeof: there are tradeoff, seeds"):
        export.export(folder, "tradeof")
    with pytest.raises(InputError, match="--format xls: there are csv, parquet, latex, markdown"):
        export.export(folder, format="xls")


def test_encode_is_deterministic(folder: Path) -> None:
    rows = Store(folder).rows()
    assert export.encode(rows, "csv") == export.encode(pd.read_csv(io.BytesIO(export.encode(rows, "csv"))), "csv")
