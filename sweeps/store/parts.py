"""A table that many processes append to: parquet parts, each written whole, put together into larger files at times.

Readers take all parts and drop what is there twice, so a kill between writing a large file and removing what went into
it, or two drivers that put the same parts together, loses nothing and doubles nothing.
"""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.store.folder import Folder, StoreError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Item = TypeVar("Item")

SIZE = 50_000_000  # bytes of a file that parts are put together into, about
LEAST = 64  # parts that are worth it
ROW_GROUP = 200_000  # rows
ROW_GROUP_BYTES = 128 * 2**20  # in memory
LARGE = "large-"  # what names of large files begin with; those of parts begin with their cell's id, hex digits
PREFIX = 16  # characters of a cell's id in the names of its parts
_NONE = {pa.string(): ""}  # what stands for a value that a part lacks; of any other type nothing
ATTEMPTS = 5  # to read a folder from which parts vanish


@dataclass(frozen=True)
class Table:
    """A table in parts.

    Attributes:
        folder: the sweep's.
        name: of the sub-folder, `rows` or `outputs`.
        schema: columns and types.
        key: columns that tell one line from another.
        since: columns that parts of earlier versions lack; text reads as "", a number as none.
    """

    folder: Folder
    name: str
    schema: pa.Schema
    key: Sequence[str]
    since: Collection[str] = ()

    def write(self, part: str, lines: Iterable[dict[str, Any]]) -> None:
        """One part, whole. Its name begins with its cell's id."""
        self.folder.write(
            f"{self.name}/{part}.parquet", _bytes([pa.Table.from_pylist(list(lines), schema=self.schema)])
        )

    def frame(self, cells: Collection[str] | None = None) -> pd.DataFrame:
        """All lines, or those of some cells, each once."""
        frame = self.read(cells=cells).to_pandas(use_threads=False)
        return frame.drop_duplicates([*self.key]).reset_index(drop=True)

    def read(self, columns: Sequence[str] | None = None, cells: Collection[str] | None = None) -> pa.Table:
        """The lines of all parts, some of them perhaps twice.

        Raises:
            StoreError: a part is no parquet file.
        """
        columns = columns or self.schema.names
        none = pa.schema([self.schema.field(column) for column in columns]).empty_table()
        return pa.concat_tables([none, *self.tables(columns, cells)])

    def tables(self, columns: Sequence[str], cells: Collection[str] | None = None) -> Iterator[pa.Table]:
        """What `read` gives, a row group at a time."""
        wanted = pa.schema([self.schema.field(column) for column in columns])
        begins = None if cells is None else {cell[:PREFIX] for cell in cells}
        done: set[str] = set()
        for attempt in range(ATTEMPTS):
            try:
                for name in self.folder.names(self.name, ".parquet"):
                    base = name.rpartition("/")[2]
                    if name not in done and (base.startswith(LARGE) or begins is None or base[:PREFIX] in begins):
                        yield from self._part(name, wanted, cells)
                        done.add(name)
                return
            except FileNotFoundError:  # a driver has put it together with others since the folder was listed
                if attempt == ATTEMPTS - 1:
                    raise

    def _part(self, name: str, wanted: pa.Schema, cells: Collection[str] | None) -> Iterator[pa.Table]:
        """One file, a row group at a time, without threads: Arrow's pools can abort a process at its end.

        Nor as `pyarrow.dataset` (26): a process that ends amid its scan of an object store hangs, a column that a part
        lacks is null without a word, and a damaged page is not named.
        """
        try:
            with self.folder.open(name) as file:
                part = pq.ParquetFile(file, pre_buffer=False)
                groups = [i for i in range(part.num_row_groups) if _may_hold(part.metadata.row_group(i), cells)]
                for some in [[group] for group in groups] or [groups]:  # of none the columns are looked at
                    found = part.read_row_groups(some, columns=wanted.names, use_threads=False)
                    for column in self.since:
                        if column in wanted.names and column not in found.column_names:
                            kind = wanted.field(column).type
                            found = found.append_column(column, pa.array([_NONE.get(kind)] * len(found), kind))
                    yield found.select(wanted.names).cast(wanted)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, KeyError, OSError) as error:  # of a damaged page Arrow says OSError, and not where
            raise StoreError(f"{self.folder.path(name)}: not a readable parquet file ({error})") from None

    def check(self, name: str) -> None:
        """Read one file whole.

        Raises:
            StoreError: it is no parquet file, or has other columns.
        """
        for _ in self._part(name, self.schema, None):
            pass

    def compact(self, least: int = LEAST, size: int = SIZE) -> int:
        """Put small parts together into files of about `size` bytes, if there are `least`. Returns how many went in."""
        small = {name: n for name, n in self.folder.sizes(self.name, ".parquet").items() if n < size // 2}
        if len(small) < least:
            return 0
        gone = 0
        for names in _grouped(small, lambda name: small[name] / size):
            if len(names) < 2:
                break
            try:
                parts = (table for name in names for table in self._part(name, self.schema, None))
                groups = map(pa.concat_tables, _grouped(parts, _of_row_group))
                self.folder.write(f"{self.name}/{LARGE}{uuid.uuid4().hex[:16]}.parquet", _bytes(groups))
            except FileNotFoundError:  # another driver is at it
                break
            for name in names:
                self.folder.remove(name)
            gone += len(names)
        return gone


def _may_hold(group: Any, cells: Collection[str] | None) -> bool:
    """Whether a row group's statistics allow for lines of these cells."""
    column = group.column(0)  # the cell
    known = column.path_in_schema == "cell" and column.is_stats_set and column.statistics.has_min_max
    if cells is None or not known:
        return True
    return any(column.statistics.min <= cell <= column.statistics.max for cell in cells)


def _of_row_group(part: pa.Table) -> float:
    """How much of a row group a table fills."""
    return max(part.num_rows / ROW_GROUP, part.nbytes / ROW_GROUP_BYTES)


def _grouped(items: Iterable[Item], share: Callable[[Item], float]) -> Iterator[list[Item]]:
    """Items in order, in groups whose shares of the size wanted add up to one or somewhat more, the last one aside."""
    group: list[Item] = []
    total = 0.0
    for item in items:
        group.append(item)
        total += share(item)
        if total >= 1:
            yield group
            group, total = [], 0.0
    if group:
        yield group


def _bytes(tables: Iterable[pa.Table]) -> bytes:
    """A parquet file with one row group per table."""
    buffer = io.BytesIO()
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(buffer, table.schema, compression="zstd")
        writer.write_table(table.combine_chunks(), row_group_size=max(1, table.num_rows))
    assert writer is not None
    writer.close()
    return buffer.getvalue()
