"""`sweeps compare`: two sweeps side by side, cell by cell, with the significance of what differs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweeps import aggregate, asked
from sweeps.significance import Difference, holm, unpaired
from sweeps.significance import paired as test

if TYPE_CHECKING:
    from rich.console import Console

KEYS = [*aggregate.IDS, "n_edits"]
WHAT = ["reliability/token_accuracy", "generalization/token_accuracy", "locality/token_accuracy"]
COLUMNS = [*KEYS, "what", "a", "b", "difference", "low", "high", "p", "p_adjusted", "pairs", "how"]


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
        rows = aggregate.one_evaluation(found.rows)
        return cls(os.fspath(folder), rows, found.outputs, found.config.get("edits"), found.left_out)


def differences(a: Sweep, b: Sweep) -> pd.DataFrame:
    """b minus a for every cell and checkpoint that both have, per editing metric and task.

    Cells are matched by what they are (model, method, setting, ...), not by their ids: two sweeps may well differ in
    hyperparameters, engine or version. Facts are paired where both sweeps draw from the same edit set, examples where
    both were asked the same prompt; else the two means are compared by their standard errors, and `how` says so.

    Returns:
        `COLUMNS`; `p_adjusted` is Holm's over the whole table.
    """
    left, right = _means(a.rows), _means(b.rows)
    both = left.merge(right, on=[*KEYS, "what"], suffixes=("_a", "_b"))
    facts = _paired_facts(a, b) if a.edits is not None and a.edits == b.edits else {}
    examples = _paired_examples(a, b)
    lines = []
    for line in both.to_dict("records"):
        key = tuple(_plain(line[name]) for name in [*KEYS, "what"])
        pairs = facts.get(key, examples.get(key))
        if pairs is not None and len(pairs) > 1:
            found, how = test(pairs), "paired facts" if key in facts else "paired examples"
        else:
            found = unpaired(line["value_a"], line["stderr_a"], line["value_b"], line["stderr_b"])
            how = "by standard errors"
        lines.append({**{name: line[name] for name in [*KEYS, "what"]}, **_figures(line, found, how)})
    table = pd.DataFrame(lines, columns=[name for name in COLUMNS if name != "p_adjusted"])
    table["p_adjusted"] = holm(table["p"])
    return table.sort_values([*KEYS, "what"], kind="stable").reset_index(drop=True)[COLUMNS]


def only(a: Sweep, b: Sweep) -> pd.DataFrame:
    """Cells with a checkpoint that `a` has and `b` has not."""
    mine, theirs = a.rows[KEYS].drop_duplicates(), b.rows[KEYS].drop_duplicates()
    merged = mine.merge(theirs, on=KEYS, how="left", indicator=True)
    return merged.loc[merged["_merge"] == "left_only", KEYS].sort_values(KEYS).reset_index(drop=True)


def run(
    first: str, second: str, out: str | None, alpha: float, console: Console, everything: bool = False
) -> pd.DataFrame:
    """Print what differs, and what only one of the two has; write all of it as CSV where `out` is given."""
    from rich.table import Table

    a, b = Sweep.read(first, everything), Sweep.read(second, everything)
    table = differences(a, b)
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(out, index=False)
    sure = table[table["p_adjusted"] < alpha]
    console.print(
        f"{len(table)} figures in common, {len(sure)} of them differ (adjusted p < {alpha:g}); a: {first}, b: {second}",
        highlight=False,
        markup=False,
    )
    shown = Table(box=None, pad_edge=False)
    for title in ("cell", "edits", "what", "a", "b", "b - a", "95% interval", "p", "pairs"):
        shown.add_column(title, justify="left" if title in ("cell", "what") else "right", overflow="fold")
    largest = table.assign(size=table["difference"].abs()).sort_values(["p_adjusted", "size"], ascending=[True, False])
    for line in largest.head(40).to_dict("records"):
        known = not pd.isna(line["low"])
        shown.add_row(
            _cell(line), f"{line['n_edits']}", line["what"], f"{line['a']:.3f}", f"{line['b']:.3f}",
            f"{line['difference']:+.3f}", f"{line['low']:+.3f} to {line['high']:+.3f}" if known else "-",
            ("-" if pd.isna(line["p_adjusted"]) else f"{line['p_adjusted']:.3g}")
            + (" *" if line["p_adjusted"] < alpha else ""),
            str(line["pairs"]) if line["pairs"] else "-",
        )  # fmt: skip
    if len(table):
        console.print(shown)
    if len(table) > 40:
        console.print(f"and {len(table) - 40} more; --out FILE writes all", highlight=False)
    for one in (a, b):
        if one.left_out:
            console.print(f"{one.name}: {asked.told(one.left_out)}", style="yellow", highlight=False, markup=False)
    for name, gone in ((first, only(a, b)), (second, only(b, a))):
        for line in gone.head(20).to_dict("records"):
            console.print(f"only in {name}: {_cell(line)}, {line['n_edits']} edits", highlight=False, markup=False)
        if len(gone) > 20:
            console.print(f"only in {name}: and {len(gone) - 20} more", highlight=False, markup=False)
    return table


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Averaged measurements: KEYS, `what` ("reliability", "ner"), value, stderr; of several cells alike the mean."""
    wanted = rows["name"].isin(WHAT) | ((rows["kind"] == "task") & rows["name"].str.endswith("/score"))
    part = rows[wanted].assign(what=rows.loc[wanted, "name"].str.split("/").str[0])
    return part.groupby([*KEYS, "what"], dropna=False)[["value", "stderr"]].mean().reset_index()


def _paired_facts(a: Sweep, b: Sweep) -> dict[tuple[Any, ...], pd.Series]:
    """Differences per fact, by KEYS and metric."""
    pattern = r"^(?P<what>reliability|generalization|locality)/token_accuracy/fact-(?P<unit>\d+)$"

    def side(rows: pd.DataFrame) -> pd.DataFrame:
        named = rows["name"].str.extract(pattern)
        return rows.join(named).dropna(subset=["what"])[[*KEYS, "what", "unit", "value"]]

    return _by_key(side(a.rows).merge(side(b.rows), on=[*KEYS, "what", "unit"], suffixes=("_a", "_b")))


def _paired_examples(a: Sweep, b: Sweep) -> dict[tuple[Any, ...], pd.Series]:
    """Differences per example, by KEYS and task; only examples with the same prompt."""
    if a.outputs.empty or b.outputs.empty:
        return {}

    def side(one: Sweep) -> pd.DataFrame:
        cells = one.rows[["cell", *KEYS]].drop_duplicates()
        kept = one.outputs[one.outputs["evaluation"].isin(set(one.rows["evaluation"]))].dropna(subset=["prompt"])
        merged = kept.merge(cells, on=["cell", "n_edits"])
        return merged.rename(columns={"task": "what", "score": "value"})[[*KEYS, "what", "index", "prompt", "value"]]

    return _by_key(side(a).merge(side(b), on=[*KEYS, "what", "index", "prompt"], suffixes=("_a", "_b")))


def _by_key(pairs: pd.DataFrame) -> dict[tuple[Any, ...], pd.Series]:
    change = pairs.assign(change=pairs["value_b"] - pairs["value_a"])
    groups: Iterable[Any] = change.groupby([*KEYS, "what"], dropna=False, sort=False)
    return {tuple(_plain(value) for value in key): group["change"] for key, group in groups}


def _plain(value: Any) -> Any:
    """NaN is not equal to itself, and so no key."""
    return None if isinstance(value, float) and pd.isna(value) else value


def _figures(line: Mapping[Any, Any], found: Difference, how: str) -> dict[str, Any]:
    means = {"a": line["value_a"], "b": line["value_b"], "difference": line["value_b"] - line["value_a"]}
    return {**means, "low": found.low, "high": found.high, "p": found.p, "pairs": found.n, "how": how}


def _cell(line: Mapping[Any, Any]) -> str:
    if line["setting"] == aggregate.UNEDITED:
        return f"{line['model']} unedited"
    batch = f" b={line['batch_size']}" if line["batch_size"] > 1 else ""
    level = aggregate.label(line["regularizer"], line["k"])
    return f"{line['model']} {line['method']} {line['setting']}{batch} {level} seed={line['seed']}"
