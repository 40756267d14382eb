"""Figure 5 and the histogram of delta: the updates of a sweep, replayed from its store onto the unedited weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError
from sweeps.figures import paper, render, style
from sweeps.figures.specs import Figure
from sweeps.results.headlines import count

if TYPE_CHECKING:
    from torch import Tensor

    from rect.analysis import Histogram
    from sweeps.plan.grid import Cell
    from sweeps.plan.kept import KeptPlan
    from sweeps.store.store import Store

PICTURE = (240, 80)  # points of a heat map: rows, columns


@dataclass(frozen=True)
class Change:
    """One matrix after some edits.

    Attributes:
        shape: (rows, cols) of the matrix.
        picture: its relative change, pooled; within [0, 1].
        histogram: of the relative change.
    """

    model: str
    matrix: str
    n_edits: int
    shape: tuple[int, int]
    picture: Tensor
    histogram: Histogram


def changes(store: Store, plan: KeptPlan, figure: Figure) -> list[Change]:
    """Replay the unregularized cell of the figure's method; at each of its checkpoints one entry per edited matrix.

    Reads the edited matrices from the model's files, not the model. Only updates that the sweep has left are used;
    nothing is computed anew.

    Raises:
        InputError: the sweep has no such cell, or its updates are not there.
    """
    import torch

    from rect import analysis, checkpoints, models
    from rect.regularizers import relative_change

    cell = _cell(plan, figure)
    name = cell.model.name
    read = checkpoints.readers(models.resolve(name, cell.model.revision))
    dtype: torch.dtype = getattr(torch, cell.model.dtype)
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}
    found = []
    for number, operation in enumerate(plan.operations(cell, max(cell.checkpoints)), start=1):
        update = store.update(operation.id)
        if update is None:
            raise InputError(f"{store.url}: the update of edit {number} is not there; run the sweep of {cell} first")
        for matrix in update:
            if matrix not in before:
                before[matrix] = read[matrix]().to(dtype)
                after[matrix] = before[matrix].clone()
            after[matrix] += update.dense(matrix).to(dtype)
        if number not in cell.checkpoints:
            continue
        for matrix, weight in after.items():
            change = relative_change(weight.float() - before[matrix].float(), before[matrix])
            rows, cols = change.shape
            size = PICTURE if rows >= cols else (PICTURE[1], PICTURE[0])
            picture = analysis.heat_map(change, size)
            found.append(Change(cell.model.shown, matrix, number, (rows, cols), picture, analysis.histogram(change)))
    return found


def _cell(plan: KeptPlan, figure: Figure) -> Cell:
    for cell in plan.cells:
        fits = cell.setting == figure.setting and cell.regularizer == "none"
        if fits and cell.method and cell.method.name in figure.methods:
            return cell
    raise InputError(
        f"{figure.name} needs a cell of {', '.join(figure.methods)}, {figure.setting}, without regularizer"
    )


def draw(found: Sequence[Change], title: str) -> dict[str, bytes]:
    """A heat map per checkpoint as in Figure 5, and beside them the histograms. Of several matrices the first."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    shown = [one for one in found if one.matrix == found[0].matrix]
    rows, cols = shown[0].shape
    tall = rows >= cols
    with matplotlib.rc_context({**style.SETTINGS, "axes.grid": False}):
        across = len(shown) if tall else 1
        canvas = Canvas(figsize=(1.5 * across + 3.6, 3.4) if tall else (7.2, 1.15 * len(shown) + 0.6))
        parts: Any = canvas.subfigures(1, 2, width_ratios=(1.5 * across, 3.4) if tall else (4.2, 3.0))
        left, right = parts
        grid = left.subplots(*((1, len(shown)) if tall else (len(shown), 1)), squeeze=False, sharex=True, sharey=True)
        for axes, one in zip(grid.flat, shown, strict=True):
            image = axes.imshow(
                one.picture.numpy(),
                cmap="hot_r",
                vmin=0,
                vmax=1,
                origin="lower",
                aspect="auto",
                extent=(0, cols, 0, rows),
                interpolation="nearest",
            )
            axes.set_title(count(one.n_edits, "edit"))
        left.supxlabel("column", fontsize=9)
        left.supylabel("row", fontsize=9)
        left.colorbar(image, ax=list(grid.flat), label="|change| / |weight|, cut off at 1", shrink=0.9)
        axes = right.subplots()
        for i, one in enumerate(shown):
            colour, _ = style.of(str(i))
            density = [n / one.histogram.total for n in one.histogram.counts]
            axes.stairs(density, one.histogram.edges, color=colour, label=count(one.n_edits, "edit"), linewidth=1.3)
        for limit in (0.077, 0.171):
            axes.axvline(limit, color="#777777", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xlabel("relative change; dotted 0.077, 0.171")
        axes.set_ylabel("share of elements per bin")
        axes.set_ylim(bottom=0)
        right.legend(loc="outside lower center", ncols=2, frameon=False)
        matrix = shown[0].matrix.removesuffix(".weight")
        canvas.suptitle(f"{title}: {paper.shown(shown[0].model)}, {matrix}", fontsize=10)
        return render.save(canvas)
