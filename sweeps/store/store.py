"""What a sweep leaves and what it continues from, in one folder on any fsspec path.

store.json                          format of the folder
config.yaml contents.json           what was asked for last, and what its models are made of
plan.json                           cells, ids and evaluations of that (see `sweeps.plan.kept`)
environments/<id>.json              versions, host and command of each run; rows say which
updates/<operation>.safetensors     raw dW of an edit operation, put once
vectors/<id>.safetensors            vectors of facts on the unedited model, where a method finds them once
states/<state>.json                 digest of the weights after a regularized operation, checked at replay
evaluations/<evaluation>.json       task, version, and where its examples come from: file and SHA-256, or hub revision
prefixes/<id>.json                  context prefixes, drawn once per model
unedited/<id>.json                  what a model says before it is edited, to questions about facts
skipped/<id>-<part>.json            facts that were looked at for a model, and why some cannot be edited
outputs/*.parquet rows/*.parquet    per cell and checkpoint; rows are the commit mark, so outputs are written first
failures/<cell>.json                why a cell failed
log/<process>.jsonl                 what happened (see `sweeps.store.journal`)
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError
from sweeps.store import schema as tables
from sweeps.store.folder import Folder, StoreError
from sweeps.store.outputs import Outputs
from sweeps.store.parts import PREFIX, Table

if TYPE_CHECKING:
    import pandas as pd

    from rect.editors.value_search.vectors import Vectors
    from rect.update import Update

__all__ = ["Done", "Store", "StoreError"]

log = logging.getLogger(__name__)

STAMP, CONTENTS, ENVIRONMENTS = "store.json", "contents.json", "environments"

Done = set[tuple[str, int, str]]  # (cell, n_edits, evaluation)


FORMAT = 2
"""Goes up when ids or files mean something else. 1 knew models by their names."""


class Store:
    """A sweep's output folder.

    Args:
        url: a path or an fsspec URL. Nothing is created until something is written.

    Raises:
        InputError: the folder was written in another format.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.folder = Folder(url)
        self._rows = Table(self.folder, "rows", tables.ROWS, tables.ROW_KEY, tables.ROWS_SINCE)
        self._outputs = Table(self.folder, "outputs", tables.OUTPUTS, tables.OUTPUT_KEY, tables.OUTPUTS_SINCE)
        self._begun = self._check_format()

    def _check_format(self) -> bool:
        """Whether the folder is a store already."""
        kept = self.folder.read_or_none(STAMP)
        if kept is None:
            if self.folder.names("rows", ".parquet"):
                raise InputError(
                    f"{self.url}: rows of an earlier version, whose ids do not tell which weights they are of (format "
                    f"1, here {FORMAT}): choose another --out, or read them with the version that wrote them"
                )
            return False
        try:
            found = json.loads(kept)["format"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self.folder.path(STAMP)}: does not say the folder's format") from None
        if found != FORMAT:
            raise InputError(
                f"{self.url}: format {found}, this version reads {FORMAT}: choose another --out, or use the version "
                f"that wrote it"
            )
        return True

    def begin(self) -> None:
        """Stamp the folder, before anything that has a meaning is written."""
        if not self._begun:
            self.folder.write_if_absent(STAMP, json.dumps({"format": FORMAT}).encode())
            self._begun = True

    # What the runs were

    def contents(self) -> dict[str, str]:
        """What the models of the runs were made of, by `ModelSpec.key`."""
        return dict(json.loads(self.folder.read_or_none(CONTENTS) or b"{}"))

    def put_contents(self, contents: Mapping[str, str]) -> None:
        """Keep what models are made of, in place of what was known of those."""
        self.folder.write(CONTENTS, json.dumps({**self.contents(), **contents}, sort_keys=True).encode())

    def put_environment(self, about: Mapping[str, Any]) -> str:
        """Keep what a run is made with. Returns its id, which the run's rows carry."""
        data = json.dumps(about, indent=2).encode()
        name = hashlib.sha256(data).hexdigest()[:12]
        self.folder.write_if_absent(f"{ENVIRONMENTS}/{name}.json", data)
        return name

    def environments(self) -> dict[str, dict[str, Any]]:
        """What the runs were made with, by id, the earliest first."""
        return dict(sorted(self._records(ENVIRONMENTS).items(), key=lambda pair: str(pair[1].get("time", ""))))

    def _records(self, kind: str) -> dict[str, dict[str, Any]]:
        """The JSON files of a sub-folder, by id."""
        return {PurePath(name).stem: json.loads(self.folder.read(name)) for name in self.folder.names(kind, ".json")}

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

        It comes as a later reader will have it, on the CPU and with factors as they lie in the file, so that what is
        made of it here has the bits of a replay.

        Raises:
            UpdateError: it holds NaN or infinity; nothing is kept.
        """
        from rect.update import Update

        update.check_finite()
        name, data = f"updates/{operation}.safetensors", update.to_bytes()
        kept = None if self.folder.write_if_absent(name, data) else self.update(operation)
        return Update.from_bytes(data, name) if kept is None else kept

    def vectors(self, name: str) -> Vectors | None:
        """What was found of some facts on the unedited model, or None."""
        from rect.editors.value_search.vectors import Vectors

        path = f"vectors/{name}.safetensors"
        data = self.folder.read_or_none(path)
        return None if data is None else Vectors.from_bytes(data, path)

    def put_vectors(self, name: str, vectors: Vectors, sought: Mapping[str, Any]) -> Vectors:
        """Keep them, with what was sought, unless there are some. Returns what is kept."""
        self.folder.write_if_absent(f"vectors/{name}.safetensors", vectors.to_bytes(sought))
        kept = self.vectors(name)
        return vectors if kept is None else kept

    def state(self, state: str) -> dict[str, Any] | None:
        """What was kept of a state, or None."""
        data = self.folder.read_or_none(f"states/{state}.json")
        return None if data is None else json.loads(data)

    def put_state(self, state: str, record: Mapping[str, Any]) -> None:
        self.folder.write_if_absent(f"states/{state}.json", json.dumps(record, sort_keys=True).encode())

    def put_evaluation(self, evaluation: str, record: Mapping[str, Any]) -> None:
        """Keep what was asked in an evaluation, and where its examples come from."""
        self.folder.write_if_absent(f"evaluations/{evaluation}.json", json.dumps(record, sort_keys=True).encode())

    def judged(self) -> dict[str, str]:
        """{evaluation by a judge: the evaluation whose answers it judged}"""
        return {name: record["of"] for name, record in self._records("evaluations").items() if "judge" in record}

    def shared(self, name: str, data: bytes) -> bytes:
        """Put once, read by all: returns what is kept under this name, the first writer's."""
        self.folder.write_if_absent(name, data)
        return self.folder.read(name)

    # Rows and outputs

    def write(self, cell: str, n_edits: int, rows: list[tables.Row], outputs: list[tables.Row]) -> None:
        """Commit what was measured at one checkpoint: outputs first, then rows, each as one whole file."""
        self.begin()
        part = f"{cell[:PREFIX]}-{n_edits}-{uuid.uuid4().hex[:12]}"
        if outputs:
            self._outputs.write(part, outputs)
        self._rows.write(part, rows)

    def commit(
        self,
        cell: str,
        axes: Mapping[str, Any],
        n_edits: int,
        engine: str,
        environment: str,
        rows: list[tables.Row],
        outputs: list[tables.Row],
    ) -> None:
        """`write`, with what all rows of a checkpoint say: what the cell is, and what it was measured with."""
        here = {"cell": cell, "n_edits": n_edits}
        made = {"engine": engine, "package_version": version("rect-sweeps"), "environment": environment}
        self.write(cell, n_edits, tables.complete(rows, {**here, **axes, **made}), tables.complete(outputs, here))

    def rows(self, cells: Collection[str] | None = None) -> pd.DataFrame:
        """All measurements, each once; or those of some cells."""
        frame = self._rows.frame(cells)
        return frame if cells is None else frame[frame["cell"].isin(cells)].reset_index(drop=True)

    def outputs(self) -> pd.DataFrame:
        """All generations, each once, with their texts."""
        return self._outputs.frame()

    def outputs_of(
        self, cells: Collection[str] | None = None, evaluations: Collection[str] | None = None, texts: bool = True
    ) -> Outputs:
        """Generations as far as they are asked for, see `sweeps.store.outputs.Outputs`."""
        return Outputs(self._outputs.tables, cells, evaluations, texts)

    def done(self, cell: str | None = None) -> Done:
        """The evaluations that are there: (cell, n_edits, evaluation); of one cell or of all."""
        columns = ["cell", "n_edits", "evaluation"]
        table = self._rows.read(columns, None if cell is None else [cell])
        lines = table.group_by(columns, use_threads=False).aggregate([])
        found = set(zip(*(lines[column].to_pylist() for column in columns), strict=True))
        return found if cell is None else {one for one in found if one[0] == cell}

    def check_part(self, name: str) -> None:
        """Read one file of rows or outputs whole. Raises StoreError where it is not what it should be."""
        (self._rows if name.startswith("rows/") else self._outputs).check(name)

    def compact(self) -> int:
        """Put many small parts together into a few large files. Returns how many went in."""
        return self._outputs.compact() + self._rows.compact()

    # Failures

    def fail(self, cell: str, reason: str, shown: str = "", traceback: str = "", again: bool = False) -> None:
        """Record that a cell failed; `run` leaves it alone until it is asked to retry, unless it is to try `again`."""
        record = {"cell": cell, "shown": shown, "reason": reason, "traceback": traceback, "again": again}
        self.folder.write(f"failures/{cell}.json", json.dumps(record).encode())

    def failures(self) -> dict[str, str]:
        """{cell: reason}"""
        return {cell: record["reason"] for cell, record in self._records("failures").items()}

    def left_alone(self) -> set[str]:
        """Cells that failed and are not tried again without being asked to."""
        return {cell for cell, record in self._records("failures").items() if not record.get("again")}

    def forget_failure(self, cell: str) -> None:
        self.folder.remove(f"failures/{cell}.json")
