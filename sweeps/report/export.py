"""`sweeps export`: a table of a sweep in the format that the next tool reads."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Sequence

import pandas as pd

from modelfolder import whole_files
from modelfolder.errors import InputError
from rect import places
from sweeps.plan import asked
from sweeps.report import gather
from sweeps.report.webpage import Material
from sweeps.results import agreement, answered, controls, curves, ranking, retention, tradeoff
from sweeps.results.measured import EDITING
from sweeps.store.store import Store

log = logging.getLogger(__name__)

ENDINGS = {"csv": "csv", "parquet": "parquet", "latex": "tex", "markdown": "md"}
SHORT = [*tradeoff.IDS, "n_edits", *(f"{what}_token_accuracy" for what in EDITING)]
SHORT += ["edit_retention", "task_score", "task_retention", "drift", "perplexity", "ability", "pareto"]

TABLES: dict[str, Callable[[Material], pd.DataFrame]] = {
    "tradeoff": lambda made: made.tradeoff,
    "seeds": lambda made: _seeds(made),
    "curves": lambda made: curves.curves(made.rows),
    "ranking": lambda made: ranking.ranking(made.table, made.sides),
    "paired": lambda made: controls.paired(made.rows, made.outputs),
    "smallest-k": lambda made: _smallest_k(made),
    "answers": lambda made: answered.beside(made.rows, made.table),
    "agreement": lambda made: agreement.agreement(made.table),
    "rows": lambda made: made.rows,
    "outputs": lambda made: made.said.frame(),
}
TO_READ = {"tradeoff": SHORT, "seeds": [name for name in SHORT if name != "seed"]}
"""Columns of tables that are made to be read (LaTeX, Markdown); CSV and parquet have all."""


def export(
    folder: str | os.PathLike[str],
    what: str = "tradeoff",
    format: str = "csv",
    out: str | None = None,
    everything: bool = False,
) -> str:
    """Write a table. Returns where it is.

    Args:
        folder: a sweep's, any fsspec path.
        what: a key of `TABLES`.
        format: csv, parquet, latex (a `tabular` with booktabs' rules) or markdown (a table as on GitHub).
        out: a local file; default `<what>.<ending>` in the folder.
        everything: take all rows in the folder, not only those of its present configuration.

    Raises:
        InputError: no such table or format, or no sweep in the folder.
    """
    if what not in TABLES:
        raise InputError(f"--what {what}: there are {', '.join(TABLES)}")
    if format not in ENDINGS:
        raise InputError(f"--format {format}: there are {', '.join(ENDINGS)}")
    store = Store(folder)
    name = f"{what}.{ENDINGS[format]}"
    if out is None:
        store.folder.check_writable(os.fspath(folder))
    else:
        places.check_file(f"--out {out}", out)
    made = gather.gather(folder, everything)
    if made.left_out:
        log.warning("%s: %s", folder, asked.told(made.left_out))
    table = TABLES[what](made)
    data = encode(table, format, TO_READ.get(what))
    if out is not None:
        whole_files.write(out, data)
        return out
    store.folder.write(name, data)
    return store.folder.path(name)


def encode(table: pd.DataFrame, format: str, columns: Sequence[str] | None = None) -> bytes:
    """A table's bytes. `columns`: those of LaTeX and Markdown, as far as they are there."""
    if format == "csv":
        return table.to_csv(index=False).encode()
    if format == "parquet":
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        return buffer.getvalue()
    names = [name for name in (columns or table.columns) if name in table.columns]
    shown = table[names].rename(columns=lambda name: name.replace("_", " ")).reset_index(drop=True)
    return (_latex(shown) if format == "latex" else _markdown(shown)).encode()


def _markdown(table: pd.DataFrame) -> str:
    rule = ["---:" if pd.api.types.is_numeric_dtype(table[name]) else "---" for name in table]
    cells = [[_text(value).replace("|", "\\|") for value in line] for line in table.itertuples(index=False, name=None)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [[*map(str, table)], rule, *cells])


def _latex(table: pd.DataFrame) -> str:
    sides = "".join("r" if pd.api.types.is_numeric_dtype(table[name]) else "l" for name in table)
    style = table.style.hide(axis="index").format(_text, escape="latex").format_index(escape="latex", axis=1)
    with pd.option_context("styler.render.max_elements", sys.maxsize):  # beyond them rows would be left out
        return str(style.to_latex(hrules=True, column_format=sides))


def _text(value: object) -> str:
    """A value as one reads it, in one line: three decimals, a dash for what is missing."""
    if value is None or value is pd.NaT or (isinstance(value, float) and pd.isna(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else " ".join(str(value).split("\n"))


LEVEL = [*tradeoff.GROUP, "n_edits", "regularizer", "k"]


def _seeds(made: Material) -> pd.DataFrame:
    """Means over seeds, with the intervals of both retentions."""
    known = made.kept.drop(columns=list(retention.SIDES))
    return tradeoff.over_seeds(made.tradeoff).merge(known, on=LEVEL, how="left")


def _smallest_k(made: Material) -> pd.DataFrame:
    """Per regularizer the smallest k that keeps enough of the editing, how sure that is, and where it may lie."""
    best = tradeoff.smallest_k(made.table)
    sides = [f"{side}{name}" for side in retention.SIDES for name in retention.FIGURES[1:]]
    best = best.merge(made.kept[[*LEVEL, *sides, "p_keeps"]], on=LEVEL, how="left")
    keys = [*tradeoff.GROUP, "regularizer"]
    return best.merge(made.kept[[*keys, "k_low", "k_high"]].drop_duplicates(keys), on=keys, how="left")
