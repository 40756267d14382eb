"""Outputs read as far as they are asked for, against the whole table; what a report reads of the texts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sweeps.report import between, examples, gather
from sweeps.results import tradeoff
from sweeps.store import outputs as lazily
from sweeps.store.outputs import TEXTS, Outputs
from sweeps.store.parts import Table
from sweeps.store.schema import OUTPUT_KEY, OUTPUTS, ROWS
from sweeps.store.store import Store
from tests.sweeps import synthetic_rows

COLUMNS = [name for name in OUTPUTS.names if name not in TEXTS]


def put(store: Store, rows: pd.DataFrame, outputs: pd.DataFrame) -> None:
    for (cell, n_edits), part in rows.groupby(["cell", "n_edits"]):
        mine = outputs[(outputs["cell"] == cell) & (outputs["n_edits"] == n_edits)].astype(object)
        mine = mine.where(mine.notna() | mine.columns.isin(["numerator", "denominator"]), None)
        store.write(
            cell, n_edits, part.reindex(columns=ROWS.names).to_dict("records"), mine[OUTPUTS.names].to_dict("records")
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    rows = synthetic_rows.sweep(tasks=("nli", "ner"), facts=1)
    outputs = synthetic_rows.outputs(rows, 7)
    outputs.loc[outputs["index"] == 6, ["prompt", "output", "gold", "unit"]] = [None, None, None, ""]
    outputs.loc[outputs["task"] == "ner", "denominator"] = 2.0
    found = Store(tmp_path / "sweep")
    put(found, rows, outputs)
    return found


def by_key(frame: pd.DataFrame) -> pd.DataFrame:
    plain = frame.astype({name: object for name in lazily.CODED if name in frame})
    return plain.sort_values(OUTPUT_KEY, ignore_index=True)


def test_scores_are_those_of_the_whole_table(store: Store) -> None:
    whole = store.outputs()
    found = store.outputs_of().scores()
    assert sorted(found) == sorted(COLUMNS)
    same = by_key(whole)[COLUMNS].astype({name: object for name in lazily.CODED})
    pd.testing.assert_frame_equal(by_key(found)[COLUMNS], same)
    assert found.memory_usage(deep=True).sum() < 60 * len(found) + 10_000


def test_prompts_are_numbers_that_are_alike_where_texts_are(store: Store) -> None:
    whole, found = by_key(store.outputs()), by_key(store.outputs_of().scores(prompts=True))
    assert (found["prompt"] == 0).equals(whole["prompt"].isna())
    numbers = found.groupby(whole["prompt"])["prompt"]
    assert (numbers.nunique() == 1).all()
    assert numbers.first().is_unique
    assert np.array_equal(lazily.numbered(whole["prompt"]), found["prompt"])


def test_what_is_not_asked_for_is_left_out(store: Store) -> None:
    whole = store.outputs()
    cells = set(whole["cell"].unique()[:3])
    some = store.outputs_of(cells, {"task-ner"})
    expected = whole[whole["cell"].isin(cells) & (whole["evaluation"] == "task-ner")]
    pd.testing.assert_frame_equal(by_key(some.frame()), by_key(expected), check_dtype=False)
    assert len(some.scores()) == len(expected)
    (one, *_), other = sorted(cells), set(whole["cell"]) - cells
    assert set(some.frame({one, *other})["cell"]) == {one}
    bare = store.outputs_of(texts=False)
    assert bare.frame()[list(TEXTS)].isna().all(axis=None)
    assert (bare.scores(prompts=True)["prompt"] == 0).all()
    assert store.outputs_of(set()).scores(prompts=True).empty
    assert store.outputs_of(set()).frame().empty


def test_each_once_while_a_driver_puts_parts_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the parts are read when all vanish into a large file."""
    whole = by_key(store.outputs())
    part, seen = Table._part, []

    def interrupted(self: Table, name: str, *args: object) -> Iterator[pa.Table]:
        seen.append(name)
        if len(seen) == 8:
            monkeypatch.setattr(Table, "_part", part)
            assert store._outputs.compact(least=2) > 2
            assert name not in store.folder.names("outputs")
        yield from part(self, name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "_part", interrupted)
    frame = by_key(store.outputs_of().scores())
    assert len(seen) == 8
    pd.testing.assert_series_equal(frame["score"], whole["score"])
    pd.testing.assert_frame_equal(by_key(store.outputs_of().frame()), whole, check_dtype=False)


def test_keys_too_many_for_one_number_are_told_apart() -> None:
    keys = [np.array([0, 2**40, 2**40, 0]), np.array([0, 2**40, 2**40, 2**40])]
    assert lazily._twice(keys).tolist() == [False, False, True, False]
    small = [np.array([5, 5, -1, 5]), np.array([0, 1, 0, 0])]
    assert lazily._twice(small).tolist() == [False, False, False, True]


def test_a_report_reads_the_texts_of_the_cells_that_fit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the other cells their lengths; the page is that of the whole table."""
    asked: list[tuple[set[str], Collection[str] | None]] = []
    tables = Table.tables

    def noted(self: Table, columns: Sequence[str], cells: Collection[str] | None = None) -> Iterator[pa.Table]:
        if self.name == "outputs":
            asked.append((set(columns) & set(TEXTS), cells))
        return tables(self, columns, cells)

    monkeypatch.setattr(examples, "CHARACTERS", 1500)
    whole = store.outputs()
    monkeypatch.setattr(Table, "tables", noted)
    material = gather.gather(store.url)
    found = examples.examples(material.said, material.table)
    assert found == examples.examples(Outputs.held(whole), material.table)
    assert found["outputs"]
    assert found["left_out"] > 0
    every = set(material.table["cell"])
    assert [texts for texts, _ in asked] == [set(), {"output"}, set(), set(TEXTS)]  # scores, lengths, tasks, texts
    assert set(found["outputs"]) <= set(asked[-1][1] or every) < every

    asked.clear()
    between.Sweep.read(store.url)
    assert [texts for texts, _ in asked] == [{"prompt"}]


def test_a_comparison_is_that_of_the_whole_tables(store: Store, tmp_path: Path) -> None:
    """Read lazily, examples pair by their prompts as they do where the texts stand in the table."""
    rows, outputs = store.rows(), store.outputs()
    outputs["prompt"] = outputs["prompt"].fillna("one more")
    other = outputs.assign(score=1 - outputs["score"])
    changed = rows.assign(value=rows["value"].where(rows["kind"] != "task", 0.5))
    tables = []
    for name, made in (("a", outputs), ("b", other)):
        scores = made.assign(right=made["numerator"].fillna(made["score"]) / made["denominator"].fillna(1.0))
        means = scores.groupby(["cell", "n_edits", "task"])["right"].mean()
        mine = changed.copy()
        of = [
            (c, n, task.split("/")[0]) for c, n, task in zip(mine["cell"], mine["n_edits"], mine["name"], strict=True)
        ]
        scored = mine["name"].str.endswith("/score")
        mine.loc[scored, "value"] = [means.get(one, np.nan) for one, s in zip(of, scored, strict=True) if s]
        put(Store(tmp_path / name), mine, made)
        tables.append((mine, made))
    lazy = between.differences(*(between.Sweep.read(str(tmp_path / name)) for name in "ab"))
    held = between.differences(
        *(
            between.Sweep(name, tradeoff.one_evaluation(one), made)
            for name, (one, made) in zip("ab", tables, strict=True)
        )
    )
    pd.testing.assert_frame_equal(lazy, held)
    assert (lazy["how"] == "one model each, its examples paired").any()
