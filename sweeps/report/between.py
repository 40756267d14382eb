"""`sweeps compare`: two sweeps side by side, and how sure what differs is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rect import places
from sweeps.plan import asked
from sweeps.results import intervals, tradeoff
from sweeps.results.intervals import Estimate
from sweeps.results.measured import EDITING, Measurements
from sweeps.results.units import Measured

if TYPE_CHECKING:
    from rich.console import Console

AXES = [*tradeoff.GROUP, "regularizer", "k", "n_edits"]
COLUMNS = [*AXES, "what", "a", "b", "difference", "low", "high", "p", "p_adjusted", "models", "units", "how"]


@dataclass(frozen=True)
class Sweep:
    """What is compared.

    Attributes:
        edits: the configuration's part on the edit set, or None where it is not known.
        left_out: cells in the folder that its present configuration does not ask for.
    """

    name: str
    rows: pd.DataFrame
    outputs: pd.DataFrame
    edits: Any = None
    left_out: int = 0

    @classmethod
    def read(cls, folder: str | os.PathLike[str], everything: bool = False) -> Sweep:
        """A folder's rows and outputs: those of its present configuration, or everything.

        Raises:
            InputError: it has no such rows.
        """
        found = asked.read(folder, everything).needed()
        rows = tradeoff.one_evaluation(found.rows)
        return cls(
            os.fspath(folder), rows, found.outputs.scores(prompts=True), found.config.get("edits"), found.left_out
        )


def differences(a: Sweep, b: Sweep) -> pd.DataFrame:
    """b minus a at every checkpoint that both have, per editing metric and task, over edited models.

    Cells are matched by what they are (model, method, setting, ...), not by their ids: two sweeps may well differ in
    hyperparameters, engine or version. Edited models are paired by their seed where both sweeps draw from the same edit
    set, else Welch's t compares the means of all seeds. Where there is one on either side, the interval is over its
    facts (the same edit set) or examples (the same prompts), or by the two standard errors; `how` says which.

    Returns:
        `COLUMNS`: `a` and `b` are means over the `models` compared; `p_adjusted` is Holm's over the whole table.
    """
    same = a.edits is not None and a.edits == b.edits
    found = [Measurements(one.rows, one.outputs, None, i, None if same else i, True) for i, one in enumerate((a, b))]
    left, right = _models(a.rows), _models(b.rows)
    tasks = sorted({*tradeoff.task_names(a.rows)} & {*tradeoff.task_names(b.rows)})
    lines = []
    for key in [key for key in left if key in right]:
        n_edits = key[-1]
        for what in (*EDITING, *tasks):
            sides = [
                {seed: of.figure(cell, n_edits, what) for seed, cell in cells.items()}
                for of, cells in zip(found, (left[key], right[key]), strict=True)
            ]
            line = _line([{s: one for s, one in side.items() if not pd.isna(one.value)} for side in sides], same)
            if line:
                lines.append(dict(zip(AXES, key, strict=True)) | {"what": what} | line)
    table = pd.DataFrame(lines, columns=[name for name in COLUMNS if name != "p_adjusted"])
    table["k"] = table["k"].astype(float)
    table["p_adjusted"] = intervals.holm(table["p"].astype(float))
    return table.sort_values([*AXES, "what"], kind="stable").reset_index(drop=True)[COLUMNS]


def _models(rows: pd.DataFrame) -> dict[tuple[Any, ...], dict[int, str]]:
    """Per values of `AXES` {seed: cell}; a missing k is None, as NaN is not equal to itself."""
    found: dict[tuple[Any, ...], dict[int, str]] = {}
    points = rows[[*AXES, "seed", "cell"]].drop_duplicates([*AXES, "seed"])
    for *key, seed, cell in points.itertuples(index=False, name=None):
        found.setdefault(tuple(None if pd.isna(value) else value for value in key), {})[seed] = cell
    return found


def _line(sides: Sequence[Mapping[int, Measured]], same: bool) -> dict[str, Any]:
    """The figures of one comparison; nothing where one side has no value."""
    a, b = sides
    seeds = [seed for seed in a if seed in b]
    if not a or not b:
        return {}
    if (same and seeds) or (len(a) == 1 and [*a] == [*b]):
        a, b = ({seed: side[seed] for seed in seeds} for side in (a, b))
        found = intervals.paired((b[seed], a[seed]) for seed in seeds)
        how = f"{len(seeds)} edited models, paired" if len(seeds) > 1 else _of_one(a[seeds[0]], b[seeds[0]])
    else:
        found = intervals.welch([*a.values()], [*b.values()])
        how = f"{len(a)} and {len(b)} edited models, not paired"
    first, second = intervals.mean([*a.values()]), intervals.mean([*b.values()])
    return {"a": first.value, "b": second.value, **_figures(found), "how": how}


def _of_one(a: Measured, b: Measured) -> str:
    if not set(a.parts) & set(b.parts):
        return "one model each, by standard errors"
    return f"one model each, its {'examples' if next(iter(a.parts.values())).common else 'facts'} paired"


def _figures(found: Estimate) -> dict[str, Any]:
    figures = {"difference": found.value, "low": found.low, "high": found.high, "p": found.p()}
    return {**figures, "models": found.models, "units": found.units}


def only(a: Sweep, b: Sweep) -> pd.DataFrame:
    """Cells with a checkpoint that `a` has and `b` has not."""
    keys = [*AXES, "seed"]
    mine, theirs = a.rows[keys].drop_duplicates(), b.rows[keys].drop_duplicates()
    merged = mine.merge(theirs, on=keys, how="left", indicator=True)
    return merged.loc[merged["_merge"] == "left_only", keys].sort_values(keys).reset_index(drop=True)


def run(
    first: str, second: str, out: str | None, alpha: float, console: Console, everything: bool = False
) -> pd.DataFrame:
    """Print what differs, and what only one of the two has; write all of it as CSV where `out` is given."""
    from rich.table import Table

    if out is not None:
        places.check_file(f"--out {out}", out)
    a, b = Sweep.read(first, everything), Sweep.read(second, everything)
    table = differences(a, b)
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(out, index=False)
    sure = table[table["p_adjusted"] < alpha]

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False)

    say(f"{len(table)} figures in common, {len(sure)} of them differ (adjusted p < {alpha:g}); a: {first}, b: {second}")
    shown = Table(box=None, pad_edge=False)
    for title in ("cell", "edits", "what", "a", "b", "b - a", "95% interval", "p", "how"):
        shown.add_column(title, justify="left" if title in ("cell", "what", "how") else "right", overflow="fold")
    largest = table.assign(size=table["difference"].abs()).sort_values(["p_adjusted", "size"], ascending=[True, False])
    for line in largest.head(40).to_dict("records"):
        known = not pd.isna(line["low"])
        shown.add_row(
            _cell(line), f"{line['n_edits']}", line["what"], f"{line['a']:.3f}", f"{line['b']:.3f}",
            f"{line['difference']:+.3f}", f"{line['low']:+.3f} to {line['high']:+.3f}" if known else "-",
            ("-" if pd.isna(line["p_adjusted"]) else f"{line['p_adjusted']:.3g}")
            + (" *" if line["p_adjusted"] < alpha else ""),
            line["how"],
        )  # fmt: skip
    if len(table):
        console.print(shown)
    if (table["models"] < 2).any():
        say("one model each: interval and p are over its facts or examples, of these two models alone")
    if len(table) > 40:
        say(f"and {len(table) - 40} more; --out FILE writes all")
    for one in (a, b):
        if one.left_out:
            say(f"{one.name}: {asked.told(one.left_out)}", "yellow")
    for name, gone in ((first, only(a, b)), (second, only(b, a))):
        for line in gone.head(20).to_dict("records"):
            say(f"only in {name}: {_cell(line)}, {line['n_edits']} edits")
        if len(gone) > 20:
            say(f"only in {name}: and {len(gone) - 20} more")
    return table


def _cell(line: Mapping[Any, Any]) -> str:
    if line["setting"] == tradeoff.UNEDITED:
        return f"{line['model']} unedited"
    batch = f" b={line['batch_size']}" if line["batch_size"] > 1 else ""
    level = tradeoff.label(line["regularizer"], line["k"])
    seed = f" seed={line['seed']}" if "seed" in line else ""
    return f"{line['model']} {line['method']} {line['setting']}{batch} {level}{seed}"
