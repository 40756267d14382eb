"""What a sweep leaves and what it continues from, in one folder on any fsspec path.

config.yaml environment.json
updates/<operation>.safetensors     raw dW of an edit operation, put once
states/<state>.json                 digest of the weights after a regularized operation, checked at replay
evaluations/<evaluation>.json       task, version, and where its examples come from: file and SHA-256, or hub revision
prefixes/<id>.json                  context prefixes, drawn once per model
outputs/*.parquet rows/*.parquet    per cell and checkpoint; rows are the commit mark, so outputs are written first
failures/<cell>.json                why a cell failed
log/<process>.jsonl                 what happened (see `sweeps.journal`)
"""

from __future__ import annotations

import io
import json
import logging
import os
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps import rows as tables
from sweeps.files import Folder

if TYPE_CHECKING:
    import pandas as pd

    from rect.update import Update

log = logging.getLogger(__name__)

Done = set[tuple[str, int, str]]  # (cell, n_edits, evaluation)


class StoreError(RuntimeError):
    """What the store holds contradicts what was computed, or cannot be read."""


class Store:
    """A sweep's output folder.

    Args:
        url: a path or an fsspec URL. Nothing is created until something is written.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.folder = Folder(url)

    @property
    def url(self) -> str:
        return self.folder.url

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    # Updates and the states they lead to

    def update(self, operation: str) -> Update | None:
        """The raw update of an operation, or None."""
        from rect.update import Update

        data = self.folder.read_or_none(f"updates/{operation}.safetensors")
        return None if data is None else Update.from_bytes(data, f"updates/{operation}.safetensors")

    def put_update(self, operation: str, update: Update) -> Update:
        """Keep a raw update unless the operation has one. Returns what is kept: the loser of a race uses the winner's.

        Raises:
            UpdateError: it holds NaN or infinity; nothing is kept.
        """
        update.check_finite()
        if self.folder.write_if_absent(f"updates/{operation}.safetensors", update.to_bytes()):
            return update
        kept = self.update(operation)
        return update if kept is None else kept

    def state(self, state: str) -> dict[str, Any] | None:
        """What was kept of a state, or None."""
        data = self.folder.read_or_none(f"states/{state}.json")
        return None if data is None else json.loads(data)

    def put_state(self, state: str, record: Mapping[str, Any]) -> None:
        self.folder.write_if_absent(f"states/{state}.json", json.dumps(record, sort_keys=True).encode())

    def put_evaluation(self, evaluation: str, record: Mapping[str, Any]) -> None:
        """Keep what was asked in an evaluation, and where its examples come from."""
        self.folder.write_if_absent(f"evaluations/{evaluation}.json", json.dumps(record, sort_keys=True).encode())

    def shared(self, name: str, data: bytes) -> bytes:
        """Put once, read by all: returns what is kept under this name, the first writer's."""
        self.folder.write_if_absent(name, data)
        return self.folder.read(name)

    # Rows and outputs

    def write(self, cell: str, n_edits: int, rows: list[tables.Row], outputs: list[tables.Row]) -> None:
        """Commit what was measured at one checkpoint: outputs first, then rows, each as one whole file."""
        part = f"{cell[:16]}-{n_edits}-{uuid.uuid4().hex[:12]}.parquet"
        if outputs:
            self.folder.write(f"outputs/{part}", _parquet(outputs, tables.OUTPUTS))
        self.folder.write(f"rows/{part}", _parquet(rows, tables.ROWS))

    def rows(self) -> pd.DataFrame:
        """All measurements, each once."""
        return self._read("rows", tables.ROWS, tables.ROW_KEY)

    def outputs(self) -> pd.DataFrame:
        """All generations, each once."""
        return self._read("outputs", tables.OUTPUTS, tables.OUTPUT_KEY)

    def done(self, cell: str = "") -> Done:
        """The evaluations that are there: (cell, n_edits, evaluation); of one cell or of all."""
        columns = ["cell", "n_edits", "evaluation"]
        table = self._table("rows", tables.ROWS, columns, cell[:16])
        return set(zip(*(table[column].to_pylist() for column in columns), strict=True))

    def _read(self, folder: str, schema: pa.Schema, key: list[str]) -> pd.DataFrame:
        frame = self._table(folder, schema).to_pandas(use_threads=False)
        return frame.drop_duplicates(key).reset_index(drop=True)

    def _table(self, folder: str, schema: pa.Schema, columns: list[str] | None = None, prefix: str = "") -> pa.Table:
        """All parts of a table, read without threads: Arrow's pools can abort a process at its end."""
        wanted = pa.schema([schema.field(column) for column in columns]) if columns else schema
        parts = [wanted.empty_table()]
        for name in self.folder.names(folder, ".parquet"):
            if name.startswith(f"{folder}/{prefix}"):
                try:
                    file = pq.ParquetFile(io.BytesIO(self.folder.read(name)), pre_buffer=False)
                    parts.append(file.read(columns=wanted.names, use_threads=False).cast(wanted))
                except pa.ArrowInvalid as error:
                    path = self.folder.path(name)
                    raise StoreError(f"{path}: not a readable parquet file ({error})") from None
        return pa.concat_tables(parts)

    # Failures

    def fail(self, cell: str, reason: str, shown: str = "", traceback: str = "") -> None:
        """Record that a cell failed; `run` leaves it alone until it is asked to retry."""
        record = {"cell": cell, "shown": shown, "reason": reason, "traceback": traceback}
        self.folder.write(f"failures/{cell}.json", json.dumps(record).encode())

    def failures(self) -> dict[str, str]:
        """{cell: reason}"""
        records = [json.loads(self.folder.read(name)) for name in self.folder.names("failures", ".json")]
        return {record["cell"]: record["reason"] for record in records}

    def forget_failure(self, cell: str) -> None:
        self.folder.remove(f"failures/{cell}.json")


def _parquet(rows: Iterable[tables.Row], schema: pa.Schema) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), buffer, compression="zstd")
    return buffer.getvalue()
