"""`sweeps edit`, in tables: what an edit does to its fact, to the weights, and to what has nothing to do with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

from sweeps.results import collateral

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.commands.effect import Made


def show(made: Made, console: Console) -> None:
    """Print the tables, and where the model was moved too far, a warning."""
    console.print(_effect(made))
    console.print(weights(made.statistics, made.shares))
    console.print(_ability(made))
    before, alone = made.neutral.perplexity, made.alone
    if collateral.too_far(before, alone.perplexity, alone.drift):
        said = f"{collateral.moved(before, alone.perplexity, alone.drift)}, unregularized"
        layers = sorted({int(number) for name in made.raw for number in re.findall(r"\.(\d+)\.", name)[:1]})
        where = f"{made.request.model}, {made.request.method}, layers {', '.join(map(str, layers))}"
        line = f"{where}: {said}. {collateral.advice(made.request.method)}"
        console.print(line, style="yellow", highlight=False, markup=False)


def _ability(made: Made) -> Table:
    edited = {"edited": made.alone} | ({} if made.regularized is None else {"regularized": made.regularized})
    table = Table(title="General ability", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "before", *edited):
        table.add_column(heading, justify="right" if heading else "left")
    values = [f"{one.perplexity:.4g}" for one in edited.values()]
    table.add_row("perplexity of neutral text", f"{made.neutral.perplexity:.4g}", *values)
    table.add_row("drift of the next token, nats", "0", *(f"{one.drift:.3g}" for one in edited.values()))
    return table


def _effect(made: Made) -> Table:
    asked, before, after = made.request, made.before, made.after
    level = "" if asked.k is None else f" {asked.k:g}"
    title = f"{asked.model}: {asked.method}, regularizer {asked.regularizer}{level}"
    tokens = "one token" if made.tokens == 1 else f"product over {made.tokens} tokens"
    columns = "", Column("before", overflow="fold"), Column("after", overflow="fold")
    table = Table(*columns, title=escape(title), title_justify="left", show_lines=True)
    name = f"probability of {asked.target!r} given the prompt ({tokens})"
    table.add_row(escape(name), f"{before.probability:.3g}", f"{after.probability:.3g}")
    for prompt, old, new in zip(made.prompts, before.continuations, after.continuations, strict=True):
        table.add_row(*(escape(text.replace("\n", "\u21b5")) for text in (prompt, old, new)))
    return table


def weights(statistics: Mapping[str, Mapping[str, float]], shares: Mapping[str, Mapping[str, float]]) -> Table:
    """Manhattan distance and relative changes of every changed matrix, against the unedited weights."""
    columns = list(dict.fromkeys(key for values in statistics.values() for key in values))
    table = Table(title="Change of the weights", title_justify="left", box=None, pad_edge=False)
    table.add_column("matrix", overflow="fold")
    for column in columns:
        table.add_column(column.replace("share_over_", "delta\nover "), justify="right", no_wrap=True)
    table.add_column("kept\nof all", justify="right", no_wrap=True)
    table.add_column("kept of\nnon-zero", justify="right", no_wrap=True)
    for name, share in shares.items():
        values = statistics.get(name, {})
        cells = [f"{values[c]:.1%}" if c.startswith("share") else f"{values[c]:,.1f}" for c in columns if c in values]
        cells += ["-"] * (len(columns) - len(cells))  # nothing of this matrix was kept
        table.add_row(escape(name), *cells, f"{share['share_kept']:.1%}", f"{share['share_nonzero_kept']:.1%}")
    return table
