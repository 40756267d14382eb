"""The trade-off as a table for the terminal: 80 columns wide, or as wide as its numbers need."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sweeps.results import tradeoff
from sweeps.results.fronts import TASKS, TEXT, furthest

TEXTS = ("model", "method", "setting")
NUMBERS = ("batch_size", "seed")
COLUMNS = {  # line breaks for the sake of 80 columns
    "n_edits": "edits",
    "reliability_token_accuracy": "relia-\nbility",
    "generalization_token_accuracy": "gen-\nerali-\nzation",
    "locality_token_accuracy": "local-\nity",
    "edit_retention": "edi-\nting\nkept",
    "task_score": "task\nscore",
    "task_retention": "tasks\nkept",
    "drift": "drift",
    "perplexity": "perp-\nlexity",
}


@dataclass(frozen=True)
class _Whole:
    """Is as wide as it has to be, whatever the console's width: a digit that is cut off leaves another number."""

    parts: Group

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = Measurement.get(console, options.update(max_width=10_000), self.parts).minimum
        yield from console.render(self.parts, options.update(max_width=max(options.max_width, needed)))


def show(table: pd.DataFrame, console: Console) -> None:
    """Print `of` a trade-off table. Where a terminal is too narrow for it, lines go on in the next."""
    console.print(_Whole(of(table)), crop=False)


def of(table: pd.DataFrame) -> Group:
    """One line per cell of a trade-off table (`tradeoff.tradeoff`).

    What is the same for all edited cells is told once; the rest of model, method and setting stands above the cells of
    which it is true, as there is no room for it beside them.
    """
    table = table.assign(ended_early=table["n_edits"] < furthest(table, [*tradeoff.GROUP, "seed"]))
    edited = table[table["setting"] != tradeoff.UNEDITED]
    same = [name for name in (*TEXTS, *NUMBERS) if edited[name].nunique() == 1]
    above = [name for name in TEXTS if edited[name].nunique() > 1]
    columns = [name for name in NUMBERS if edited[name].nunique() > 1]
    told = [f"{name.replace('_', ' ')} " * (name in NUMBERS) + str(edited[name].iloc[0]) for name in same]
    groups: dict[str, list[list[str]]] = {}
    for _, line in table.iterrows():
        title = ", ".join(str(line[name]) for name in above if known(line, name))
        numbers = [str(line[name]) if known(line, name) else "" for name in columns]
        values = [shown(name, line[name]) for name in COLUMNS]
        groups.setdefault(title, []).append([label(line), *numbers, *values])
    headings = ["", *(name.replace("_", "\n") for name in columns), *COLUMNS.values()]
    texts = [headings, *(cells for group in groups.values() for cells in group)]
    widths = [max(len(line) for text in column for line in text.split("\n")) for column in zip(*texts, strict=True)]
    gap = (0, 1, 0, 0) if columns else (0, 1)
    parts: list[Table | Text] = [Text(", ".join(told), style="italic")] if told else []
    for number, (title, group) in enumerate(groups.items()):
        part = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False, padding=gap)
        part.show_header = number == 0
        for heading, width in zip(headings, widths, strict=True):
            part.add_column(heading, justify="right" if heading else "left", no_wrap=True, min_width=width)
        for cells in group:
            part.add_row(*map(escape, cells))
        parts.append(part)
    early = bool(table["ended_early"].any())
    read = set(edited["ability"]) if "ability" in edited else {TASKS}
    axes = " or ".join(name for name, of in (("tasks kept", TASKS), ("drift", TEXT)) if of in read)
    marks = f"* on the front of editing against {axes}" + "   ! fewer edits: not compared" * early
    return Group(*parts, Text(marks, style="dim"))


def known(line: pd.Series, name: str) -> bool:
    """Whether an axis says anything of this cell: of an unedited one only the model does."""
    return name == "model" or line["setting"] != tradeoff.UNEDITED


def label(line: pd.Series) -> str:
    if line["setting"] == tradeoff.UNEDITED:
        return "unedited"
    return tradeoff.label(line["regularizer"], line["k"]) + " *" * line["pareto"] + " !" * line["ended_early"]


def shown(column: str, value: float) -> str:
    if pd.isna(value):
        return "-"
    if column == "n_edits":
        return str(value)
    if column == "perplexity":
        return f"{value:.1f}" if value < 1000 else f"{value:.0e}"
    return f"{value:.0%}" if column.endswith("retention") else f"{value:.3f}"
