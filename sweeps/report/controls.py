"""The report's comparisons: RECT against its controls, and the order of methods, as plain data with a sentence each.

Numbers come from `sweeps.results`, `controls` and `ranking`. What cannot be compared is named. Of one edited model
nothing is said to hold for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from sweeps.report.plain import plain
from sweeps.results import controls
from sweeps.results import ranking as order
from sweeps.results.fronts import TEXT
from sweeps.results.headlines import count, place
from sweeps.results.power import points
from sweeps.results.retention import Sides
from sweeps.results.tradeoff import GROUP, label

ALPHA = 0.05
SUMMARY = (*controls.EDITING, controls.ALL_TASKS)

SEVERAL = (
    "RECT minus the control at the same k, edited models paired by their seed. Brackets: 95% interval of the mean over "
    "edited models (Student's t). p: paired t over edited models, adjusted (Holm) for all comparisons at one k; a "
    f"difference is shown where it is below {ALPHA:g}."
)
ONE = (
    "RECT minus the control at the same k. Each line is of two edited models, one of either side. Brackets: 95% "
    "interval over their facts or examples, for these two alone. What would hold for others, several seeds would tell."
)
BALANCE = (
    "Balance: the harmonic mean of the editing (reliability and generalization) and the share of the tasks that is "
    "kept, at most 1 each; high only where the facts are learned and the tasks survive. Brackets: 95% interval over "
)


def paired(rows: pd.DataFrame, outputs: pd.DataFrame) -> dict[str, Any]:
    """`note` and `blocks`: one per group, k and control, and one per group for what has no counterpart.

    A block is `model, method, setting, batch_size, regularizer, k, against, title, sentence` and `lines`:
    [what, mean of RECT, mean of the control, difference, low, high, adjusted p, edited models, units, note].
    """
    there = set(rows["regularizer"].unique())
    for wanted in ({"rect"}, set(controls.CONTROLS)):
        if not wanted & there:
            names = " or ".join(sorted(wanted))
            return {"note": f"Nothing to compare: this sweep has no cell with {names}.", "blocks": []}
    table = controls.paired(rows, outputs)
    columns = ["what", "rect", "other", "difference", "low", "high", "p_adjusted", "models", "units", "note"]
    blocks = []
    for keys, group in table.groupby(list(GROUP), dropna=False, sort=False):
        ids = dict(zip(GROUP, (plain(key) for key in keys), strict=True))
        compared, gaps = group[group["what"] != ""], group[group["what"] == ""]
        for _, part in compared.groupby(["k", "against"], sort=False):
            k, against = float(part["k"].iloc[0]), str(part["against"].iloc[0])
            title = f"{_place(keys, part['n_edits'].iloc[0])}: {label('rect', k)} against {label(against, k)}"
            lines = [[plain(value) for value in line] for line in part[columns].itertuples(index=False, name=None)]
            block = {"regularizer": "rect", "k": plain(k), "against": label(against, k), "title": title}
            blocks.append(ids | block | {"sentence": _sentence(part), "lines": lines})
        if len(gaps):
            block = {"regularizer": "rect", "k": None, "against": "", "title": f"{_place(keys)}: not compared"}
            blocks.append(ids | block | {"sentence": _gaps(gaps), "lines": []})
    return {"note": SEVERAL if (table["models"] > 1).any() else ONE, "blocks": blocks}


def _place(keys: tuple[Any, ...], n_edits: float = float("nan")) -> str:
    return place(keys[:3], keys[3], n_edits)


def _gaps(gaps: pd.DataFrame) -> str:
    """Why k of RECT stand alone, each reason once."""
    reasons = [
        f"{', '.join(f'rect {k:g}' for k in part['k'])} with {control} ({_shared(part['note'])})"
        for control, part in gaps.groupby("against", sort=False)
    ]
    return f"Not compared: {'; '.join(reasons)}."


def _shared(notes: pd.Series) -> str:
    """The notes as one: "no cell random 20", "no cell random 80" are no cells at these k."""
    if notes.str.startswith("no cell ").all():
        return "no cell at this k" if len(notes) == 1 else "no cell at these k"
    return ", ".join(notes)


def _sentence(lines: pd.DataFrame) -> str:
    """Of several edited models: ahead, behind, no difference shown; of one: what its own facts and examples say."""
    several = lines["models"] > 1
    shown = lines["p_adjusted"] < ALPHA
    whole = lines["what"].isin(SUMMARY)
    parts = []
    for verdict, sign in (("ahead", 1), ("behind", -1)):
        found = lines[shown & (sign * lines["difference"] > 0)]
        if len(found):
            parts.append(f"RECT is {verdict} in {_differences(found)}.")
    level = lines[whole & several & ~shown]
    if len(level):
        parts.append(f"No difference is shown in {_differences(level)}.")
    parts += [*_of_one(lines[lines["models"] == 1]), *_tells(lines[whole & several])]
    gone = lines.loc[whole & (lines["models"] == 0), "note"]
    return " ".join([*parts, *(f"Missing: {note}." for note in gone)])


def _tells(lines: pd.DataFrame) -> list[str]:
    """Which differences such rows would show."""
    told = [
        f"{points(line['tells'])} or more in {line['what'].replace('_', ' ')}"
        for _, line in lines[lines["tells"].notna()].iterrows()
    ]
    return [f"These rows can tell differences of {_joined(told)}."] if told else []


def _of_one(lines: pd.DataFrame) -> list[str]:
    """What is higher, lower or neither on the one edited model of either side."""
    whole = lines["what"].isin(SUMMARY)
    told = [
        f"{verdict} in {_differences(found)}"
        for verdict, found in (
            ("higher", lines[lines["low"] > 0]),
            ("lower", lines[lines["high"] < 0]),
            ("neither", lines[whole & ~((lines["low"] > 0) | (lines["high"] < 0))]),
        )
        if len(found)
    ]
    return [f"On this one edited model RECT is {'; '.join(told)}."] if told else []


def _differences(lines: pd.DataFrame) -> str:
    """ "reliability (+0.600, +0.520 to +0.680, 3 edited models) and locality (...)"."""
    found = []
    for _, line in lines.iterrows():
        interval = "" if pd.isna(line["low"]) else f" {line['low']:+.3f} to {line['high']:+.3f},"
        kind = "fact" if line["what"] in controls.EDITING else "example"
        models, units = int(line["models"]), int(line["units"])
        over = count(models, "edited model") if models > 1 else count(units, kind)
        found.append(f"{line['what'].replace('_', ' ')} ({line['difference']:+.3f},{interval} {over})")
    return _joined(found)


def _joined(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def ranking(table: pd.DataFrame, sides: Mapping[str, Sides] | None = None) -> dict[str, Any]:
    """`note` and `blocks`: one per model, setting, batch size and number of edits.

    A block is `model, setting, batch_size, title, sentence` and `lines`: [method and regularizer, rank, balance, low,
    high, edit_score, task_retention, seeds, p, note], the best first. Arguments: see `sweeps.results.ranking`.
    """
    ranked = order.ranking(table, sides)
    columns = ["name", "rank", "balance", "low", "high", "edit_score", "task_retention", "seeds", "p", "note"]
    ranked = ranked.assign(name=order.named(ranked))
    blocks = []
    for _, part in ranked.groupby(order.PLACES, dropna=False, sort=False):
        model, setting, batch_size, n_edits = (part[column].iloc[0] for column in order.PLACES)
        lines = [[plain(value) for value in line] for line in part[columns].itertuples(index=False, name=None)]
        ids = {"model": model, "setting": setting, "batch_size": plain(batch_size)}
        title = place([model, setting], batch_size, n_edits)
        blind = "The tasks cannot tell here, so half of each balance is chance. " * _is_blind(table, part)
        blocks.append(ids | {"title": title, "sentence": blind + _order(part), "lines": lines})
    over = "edited models." if (ranked["seeds"] > 1).any() else "the facts and examples of one edited model."
    return {"note": BALANCE + over if blocks else "Nothing to rank: there is no edited cell.", "blocks": blocks}


def _is_blind(table: pd.DataFrame, part: pd.DataFrame) -> bool:
    """Whether the trade-off of some of a place's methods is not read from the tasks, which a balance is made of."""
    mine = (table[["model", "setting", "batch_size"]] == part[["model", "setting", "batch_size"]].iloc[0]).all(axis=1)
    read = "ability" in table and bool((table.loc[mine, "ability"] == TEXT).any())
    return read and bool(part["balance"].notna().any())


def _order(part: pd.DataFrame) -> str:
    """Who is first, how sure that is, and who could not be ranked."""
    known, gone = part[part["rank"].notna()], part[part["rank"].isna()]
    missing = "".join(f" Not ranked: {line['name']} ({line['note']})." for _, line in gone.iterrows())
    if len(known) < 2:
        return f"Nothing to rank here: {'no' if known.empty else 'only one'} line has both sides.{missing}"
    best = known[known["rank"] == known["rank"].min()]
    rest = known.drop(best.index)
    text = f"First{', equal' if len(best) > 1 else ''}: {_joined(best['name'])} (balance {best['balance'].iloc[0]:.3f})"
    text += f", before {rest['name'].iloc[0]} ({rest['balance'].iloc[0]:.3f})." if len(rest) else "."
    if known["seeds"].max() < 2:
        return f"{text} One edited model each: how others would be ordered is not known.{missing}"
    ahead, level = rest[rest["p"] < ALPHA], rest[rest["p"] >= ALPHA]
    if len(ahead):
        text += f" It is shown to be ahead of {_joined(ahead['name'])}."
    if len(level):
        text += f" It is not shown to be ahead of {_joined(level['name'])}."
    return text + missing
