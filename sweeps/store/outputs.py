"""Outputs, read as far as somebody asks: their scores as a narrow table, texts one row group at a time.

A checkpoint of a real data set keeps 25,000 prompts and answers, a sweep hundreds of checkpoints: gigabytes of text, of
which a report shows little. What tables and intervals need takes about 50 bytes an output here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sweeps.store.schema import OUTPUT_KEY, OUTPUTS

TEXTS = ("prompt", "output", "gold")
CODED = ("cell", "task", "evaluation", "unit")  # columns of few values
NUMBERS = ("n_edits", "index", "score", "numerator", "denominator")
METRIC = "metric "  # what tasks begin with that are metrics of the model's own words

Read = Callable[[Sequence[str], Collection[str] | None], Iterator[pa.Table]]
"""(columns, cells) -> tables with the lines of these cells and perhaps of others, some lines perhaps twice."""


class Outputs:
    """The outputs of a sweep that are asked for.

    Args:
        read: what gives them, `Table.tables` of a store.
        cells, evaluations: those that are wanted; None: all.
        texts: false: prompts, outputs and gold answers count as left out, whatever an earlier run kept.
    """

    def __init__(
        self,
        read: Read,
        cells: Collection[str] | None = None,
        evaluations: Collection[str] | None = None,
        texts: bool = True,
    ) -> None:
        self._read, self._cells, self._evaluations, self._texts = read, cells, evaluations, texts

    @classmethod
    def held(cls, frame: pd.DataFrame) -> Outputs:
        """Those of a table in memory."""

        def read(columns: Sequence[str], _: Collection[str] | None) -> Iterator[pa.Table]:
            schema = pa.schema([OUTPUTS.field(column) for column in columns])
            yield pa.Table.from_pandas(frame.reindex(columns=list(columns)), schema, preserve_index=False)

        return cls(read)

    def scores(self, prompts: bool = False) -> pd.DataFrame:
        """All but the texts, each output once: `cell`, `task`, `evaluation` and `unit` as categories, and numbers.

        Args:
            prompts: with `prompt`, a number that tells one text from another (0: none was kept).
        """
        codes = {name: _Codes() for name in CODED}
        parts: dict[str, list[np.ndarray]] = {name: [] for name in (*CODED, *NUMBERS)}
        numbers: list[np.ndarray] = []
        for table in self.tables([*parts, *(["prompt"] if prompts else [])]):
            for name, found in parts.items():
                column = table[name]
                found.append(codes[name].of(column) if name in codes else _plain(column))
            if prompts:
                numbers.append(_numbered(table["prompt"]))
        columns = {name: np.concatenate([_EMPTY.get(name, np.empty(0)), *parts.pop(name)]) for name in [*parts]}
        if prompts:
            columns["prompt"] = np.concatenate([np.empty(0, np.uint64), *numbers])
        twice = _twice([columns[name] for name in OUTPUT_KEY])
        named = {name: codes[name].categories(one) if name in codes else one for name, one in columns.items()}
        frame = pd.DataFrame(named, copy=False)
        return frame[~twice].reset_index(drop=True) if twice.any() else frame

    def batches(self, columns: Sequence[str], cells: Collection[str] | None = None) -> Iterator[pd.DataFrame]:
        """Some columns with texts, a row group at a time; a line that lies there twice comes twice."""
        for table in self.tables(columns, cells):
            yield table.to_pandas(use_threads=False)

    def frame(self, cells: Collection[str] | None = None, metrics: bool = False) -> pd.DataFrame:
        """All columns, each output once: as much memory as the texts take.

        Args:
            cells: of these alone.
            metrics: only what the model said in its own words, of which the answer is kept.
        """
        found = [OUTPUTS.empty_table().to_pandas()]
        for batch in self.batches(OUTPUTS.names, cells):
            found.append(batch[is_metric(batch)] if metrics else batch)
        kept = [one for one in found if len(one)] or found
        return pd.concat(kept, ignore_index=True).drop_duplicates(OUTPUT_KEY).reset_index(drop=True)

    def tables(self, columns: Sequence[str], cells: Collection[str] | None = None) -> Iterator[pa.Table]:
        """As `batches`, in Arrow's tables."""
        if cells is None:
            cells = self._cells
        elif self._cells is not None:
            cells = {*cells} & {*self._cells}
        for table in self._read([*dict.fromkeys(["cell", "evaluation", *columns])], cells):
            for name, wanted in (("cell", cells), ("evaluation", self._evaluations)):
                if wanted is not None:
                    table = table.filter(pc.is_in(table[name], pa.array(sorted(wanted), pa.string())))
            if len(table):
                yield table.select(list(columns)) if self._texts else _without_texts(table.select(list(columns)))


def _without_texts(table: pa.Table) -> pa.Table:
    for at, name in enumerate(table.column_names):
        if name in TEXTS:
            table = table.set_column(at, name, pa.nulls(len(table), pa.string()))
    return table


def is_metric(outputs: pd.DataFrame) -> pd.Series:
    """Which lines are what a model said in its own words, with the answer."""
    return outputs["task"].str.startswith(METRIC) & outputs["gold"].notna()


def numbered(prompts: pd.Series) -> np.ndarray:
    """Numbers for prompts, alike where they are alike, 0 for none; such numbers stay what they are."""
    if prompts.dtype == np.uint64:
        return prompts.to_numpy()
    return _numbered(pa.chunked_array([pa.array(prompts.to_numpy(object), pa.string(), from_pandas=True)]))


class _Codes:
    """Numbers for the values of a column, the same in all tables; -1 for none."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, column: pa.ChunkedArray) -> np.ndarray:
        return _looked_up(
            column, lambda values: [self._known.setdefault(value, len(self._known)) for value in values], -1, np.int32
        )

    def categories(self, codes: np.ndarray) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, categories=pd.Index([*self._known], dtype=object))


def _looked_up(column: pa.ChunkedArray, told: Callable[[list[str]], Any], none: int, kind: Any) -> np.ndarray:
    """What each value of a column stands for; each distinct one is asked for once."""
    found = []
    for chunk in column.chunks:
        one = chunk.dictionary_encode()
        table = np.append(np.asarray(told(one.dictionary.to_pylist()), kind), np.asarray([none], kind))
        found.append(table[one.indices.fill_null(len(one.dictionary)).to_numpy(zero_copy_only=False)])
    return np.concatenate([np.empty(0, kind), *found])


def _numbered(column: pa.ChunkedArray) -> np.ndarray:
    return _looked_up(column, lambda texts: pd.util.hash_array(np.asarray(texts, object)), 0, np.uint64)


def _plain(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy()


_EMPTY = {name: np.empty(0, np.int32) for name in CODED} | {
    name: np.empty(0, np.int64) for name in ("n_edits", "index")
}


def _twice(keys: Sequence[np.ndarray]) -> np.ndarray:
    """Which lines have the keys of an earlier one."""
    if not len(keys[0]):
        return np.zeros(0, bool)
    lows = [int(key.min()) for key in keys]
    spans = [int(key.max()) - low + 1 for key, low in zip(keys, lows, strict=True)]
    if np.prod([float(span) for span in spans]) > 2**62:
        return pd.DataFrame(dict(enumerate(keys))).duplicated().to_numpy()
    ids = np.zeros(len(keys[0]), np.int64)
    for key, low, span in zip(keys, lows, spans, strict=True):
        ids *= span
        ids += key
        ids -= low
    return pd.Series(ids).duplicated().to_numpy()
