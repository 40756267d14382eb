"""Tables in parts: what is put together is the same table, whatever is killed and whoever else is at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sweeps.store import parts
from sweeps.store.folder import Folder, StoreError
from sweeps.store.parts import LARGE, Table
from sweeps.store.schema import ROW_KEY, ROWS, Row, complete, measurement

CELLS = [f"{index:032x}" for index in range(0x1000, 0x1000 + 40)]


def lines(cell: str, n_edits: int) -> list[Row]:
    rows = [measurement("edit", f"metric-{i}", i + n_edits, evaluation="e") for i in range(5)]
    shared: dict[str, Any] = dict.fromkeys((field.name for field in ROWS), None)
    return complete(rows, {**shared, "cell": cell, "n_edits": n_edits})


def write(table: Table, cells: list[str], n_edits: int = 1) -> None:
    for cell in cells:
        table.write(f"{cell[:16]}-{n_edits}-0", lines(cell, n_edits))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    found = Table(Folder(tmp_path), "rows", ROWS, ROW_KEY)
    for index, cell in enumerate(CELLS):
        found.write(f"{index:016x}-1-0", lines(cell, 1))
    return found


def in_order(table: Table) -> pd.DataFrame:
    return table.frame().sort_values(ROW_KEY).reset_index(drop=True)


def files(table: Table) -> list[str]:
    return [name.rpartition("/")[2] for name in table.folder.names("rows")]


def test_parts_become_few_large_files_with_the_same_lines(table: Table) -> None:
    before = in_order(table)
    size = sum(table.folder.sizes("rows").values()) // 4
    assert table.compact(least=10, size=size) == len(CELLS)
    assert 3 <= len(files(table)) <= 5
    assert all(name.startswith(LARGE) for name in files(table))
    pd.testing.assert_frame_equal(in_order(table), before)
    assert table.compact(least=10) == 0  # too few to be worth it


def test_parts_that_come_later_join_the_last_file(table: Table) -> None:
    table.compact(least=10)
    table.write("f" * 16 + "-1-0", lines("f" * 32, 1))
    assert table.compact(least=2) == 2
    assert len(files(table)) == 1
    assert len(table.frame()) == 5 * (len(CELLS) + 1)


def test_a_kill_before_the_parts_are_removed_doubles_nothing(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    before = in_order(table)

    def killed(self: Folder, name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            table.compact(least=10)
    assert len(files(table)) == len(CELLS) + 1
    pd.testing.assert_frame_equal(in_order(table), before)
    table.compact(least=10)
    pd.testing.assert_frame_equal(in_order(table), before)


def test_a_reader_outlives_a_file_that_vanishes(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    before, listed = in_order(table), Folder.names

    def then_compacted(self: Folder, folder: str, suffix: str = "") -> list[str]:
        """Another driver puts the parts together right after they were listed."""
        names = listed(self, folder, suffix)
        monkeypatch.setattr(Folder, "names", listed)
        Table(Folder(self.url), "rows", ROWS, ROW_KEY).compact(least=10)
        return names

    monkeypatch.setattr(Folder, "names", then_compacted)
    pd.testing.assert_frame_equal(in_order(table), before)
    assert len(files(table)) == 1


def test_two_that_compact_at_once_lose_nothing(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    before, sizes = in_order(table), Folder.sizes

    def then_compacted(self: Folder, folder: str, suffix: str = "") -> dict[str, int]:
        found = sizes(self, folder, suffix)
        monkeypatch.setattr(Folder, "sizes", sizes)
        Table(Folder(self.url), "rows", ROWS, ROW_KEY).compact(least=10)
        return found

    monkeypatch.setattr(Folder, "sizes", then_compacted)
    table.compact(least=10)
    pd.testing.assert_frame_equal(in_order(table), before)


def test_some_cells_are_read_without_the_rest(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP", 20)  # four cells in a group
    table.compact(least=10)
    [name] = files(table)
    assert pq.ParquetFile(Path(table.folder.path("rows")) / name).num_row_groups == 10
    read = table.read(cells=[CELLS[7]])
    assert CELLS[7] in set(read["cell"].to_pylist())
    assert read.num_rows == 20


def test_a_broken_part_is_named(table: Table) -> None:
    table.folder.write("rows/0-broken.parquet", b"not parquet")
    with pytest.raises(StoreError, match=r"0-broken\.parquet: not a readable parquet file"):
        table.frame()


def test_a_damaged_page_is_named(table: Table) -> None:
    name = files(table)[3]
    path = Path(table.folder.path("rows")) / name
    data = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    data[first : first + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{name}: not a readable parquet file"):
        table.frame()
