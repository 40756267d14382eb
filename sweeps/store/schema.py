"""The tables that a sweep leaves: columns, types, and building one row. One measurement per row."""

from __future__ import annotations

import math
import uuid
from typing import Any

import pyarrow as pa

ROWS = pa.schema(
    [
        ("cell", pa.string()),
        ("model", pa.string()),
        ("method", pa.string()),
        ("setting", pa.string()),
        ("batch_size", pa.int64()),
        ("regularizer", pa.string()),
        ("k", pa.float64()),  # NaN where the regularizer takes none
        ("seed", pa.int64()),
        ("n_edits", pa.int64()),  # operations so far
        ("kind", pa.string()),  # edit | task | ability | weights | time
        ("name", pa.string()),  # "reliability/preference", "nli/score", "<matrix>/manhattan", "editing_seconds"
        ("value", pa.float64()),
        ("stderr", pa.float64()),
        ("n", pa.int64()),
        ("engine", pa.string()),
        ("package_version", pa.string()),
        ("environment", pa.string()),  # of the run: `Store.environments`
        ("evaluation", pa.string()),
        ("pass", pa.string()),  # of rows of kind `time`: which pass over the cell took it; else ""
    ]
)
ROW_KEY = ["cell", "n_edits", "evaluation", "kind", "name", "pass"]
ROWS_SINCE = ("pass",)  # columns that parts of earlier versions lack

OUTPUTS = pa.schema(
    [
        ("cell", pa.string()),
        ("n_edits", pa.int64()),
        ("task", pa.string()),
        ("index", pa.int64()),
        ("prompt", pa.string()),
        ("output", pa.string()),
        ("gold", pa.string()),  # JSON
        ("score", pa.float64()),
        ("evaluation", pa.string()),
        ("unit", pa.string()),  # examples of one unit are drawn together (ner: those of a sentence)
        ("numerator", pa.float64()),  # what it adds to the sums whose ratio is the task's score;
        ("denominator", pa.float64()),  # NaN where the score is the mean of `score`
    ]
)
OUTPUTS_SINCE = ("unit", "numerator", "denominator")  # columns that parts of earlier versions lack
OUTPUT_KEY = ["cell", "n_edits", "evaluation", "task", "index"]

Row = dict[str, Any]


def measurement(
    kind: str, name: str, value: float, stderr: float = math.nan, n: int | None = None, evaluation: str = ""
) -> Row:
    """One measurement; what says where it was taken is added by `complete`."""
    return {
        "kind": kind,
        "name": name,
        "value": float(value),
        "stderr": float(stderr),
        "n": n,
        "evaluation": evaluation,
        "pass": "",
    }


def complete(rows: list[Row], where: dict[str, Any]) -> list[Row]:
    """Add the columns that all rows of one checkpoint share, and to times the pass that took them.

    A score is the same whoever takes it; a pass that comes back to a checkpoint for one more task takes time of its
    own, which is added to what is there.
    """
    here = uuid.uuid4().hex[:12]
    return [{**where, **row} | ({"pass": here} if row.get("kind") == "time" else {}) for row in rows]
