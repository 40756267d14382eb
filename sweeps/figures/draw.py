"""`sweeps figure`: from a sweep's folder to pictures in it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from modelfolder.errors import InputError
from sweeps.figures import panels, paper, render, weights
from sweeps.figures.panels import Panel
from sweeps.figures.specs import FIGURES, Figure, find
from sweeps.plan import asked
from sweeps.plan.asked import Asked
from sweeps.store.store import Store

log = logging.getLogger(__name__)

LAYOUTS: dict[str, Callable[[pd.DataFrame, Figure, str], Iterable[Panel]]] = {
    "tasks over edits": panels.tasks_over_edits,
    "tasks by batch": panels.tasks_by_batch,
    "batches over edits": panels.batches_over_edits,
    "regularizers over edits": panels.regularizers_over_edits,
    "editing": panels.editing,
    "table": panels.table,
}


@dataclass(frozen=True)
class Drawn:
    """What became of a figure.

    Attributes:
        files: written, under the sweep's folder; empty if there was nothing to draw.
        missing: panels that the rows cannot fill, with the reason.
    """

    figure: Figure
    files: tuple[str, ...]
    missing: tuple[str, ...]


def draw(
    name: str, folder: str | os.PathLike[str], score: str = "score_release", everything: bool = False
) -> list[Drawn]:
    """Draw one figure, or all, from the rows in a sweep's folder; files go to `figures/` in it.

    Each figure is written as PNG, SVG and, for those drawn from rows, CSV with every number in it.

    Args:
        name: as "figure-08", "8", "table-1"; "all" leaves out what the folder has nothing of.
        score: "score_release", as published, or "score".
        everything: take all rows in the folder, not only those of its present configuration.

    Raises:
        InputError: no such figure or score, no rows, nothing of that figure in them, or two models or methods that it
            shows by one name.
    """
    if score not in panels.SCORES:
        raise InputError(f"--score {score}: it must be {' or '.join(panels.SCORES)}")
    wanted = list(FIGURES.values()) if name == "all" else [find(name)]
    Store(folder).folder.check_writable(os.fspath(folder))
    found = asked.read(folder, everything).needed()
    store, rows = found.store, found.rows
    if found.left_out:
        log.warning("%s: %s", store.url, asked.told(found.left_out))
    drawn = [_weights(found, one) if one.layout == "weights" else _panels(store, one, rows, score) for one in wanted]
    if name != "all" and not drawn[0].files:
        raise InputError(f"{store.url}: nothing of {wanted[0].name} is in this sweep ({'; '.join(drawn[0].missing)})")
    return drawn


def _panels(store: Store, figure: Figure, rows: pd.DataFrame, score: str) -> Drawn:
    made = list(LAYOUTS[figure.layout](rows, figure, score))
    missing = tuple(f"{one.title}: {one.note}".replace("\n", ", ") for one in made if one.note)
    if not any(not series.published for one in made for series in one.series):
        return Drawn(figure, (), missing)
    files = {**render.render(made, _title(rows, figure)), "csv": panels.as_table(made).to_csv(index=False).encode()}
    return Drawn(figure, _write(store, figure, files), missing)


def _title(rows: pd.DataFrame, figure: Figure) -> str:
    """The figure's, with the model that is shown where the title names one that is not."""
    (theirs, *others), mine = (
        figure.models,
        rows[rows["method"].str.split(" (", regex=False).str[0].isin(figure.methods)],
    )
    there = list(dict.fromkeys(paper.shown(model) for model in mine["model"]))
    return figure.title if others or theirs in there else figure.title.replace(theirs, ", ".join(there))


def _weights(found: Asked, figure: Figure) -> Drawn:
    """Needs the updates: their cell must be one of the folder's present configuration."""
    plan = found.plan or asked.plan_of(found.text, found.store)
    if plan is None:
        return Drawn(
            figure, (), ("there is no config.yaml that can be read here, so the updates cannot be told apart",)
        )
    try:
        changes = weights.changes(found.store, plan, figure)
    except InputError as error:
        return Drawn(figure, (), (str(error),))
    return Drawn(figure, _write(found.store, figure, weights.draw(changes, figure.title)), ())


def _write(store: Store, figure: Figure, files: dict[str, bytes]) -> tuple[str, ...]:
    names = {f"figures/{figure.name}.{ending}": data for ending, data in files.items()}
    for name, data in names.items():
        store.folder.write(name, data)
    return tuple(names)


def listed(chosen: Sequence[Drawn]) -> list[str]:
    """Lines for the terminal: what was written, what is missing."""
    lines = []
    for one in chosen:
        state = ", ".join(one.files) if one.files else "nothing to draw"
        lines.append(f"{one.figure.name}: {state}")
        lines += [f"  missing {what}" for what in one.missing]
    return lines
