"""Panels to PNG and SVG with matplotlib, without a screen and without its global state."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweeps.figures import style
from sweeps.figures.panels import ORDER, Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDTH, HEIGHT = 2.7, 2.4  # inches of a panel
DPI = 130
PUBLISHED: Any = {"linestyle": (0, (4, 2)), "fillstyle": "none"}  # lines of the paper
BESIDE_BARS: Any = {"marker": "_", "markersize": 9, "markeredgewidth": 1.6}  # the paper's value at a bar
FORMATS = ("png", "svg")


def render(panels: Sequence[Panel], title: str) -> dict[str, bytes]:
    """The figure in each of `FORMATS`.

    Args:
        panels: drawn in rows of at most four.
        title: above all.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    across = _across(len(panels))
    rows = math.ceil(len(panels) / across)
    with matplotlib.rc_context(style.SETTINGS):
        slanted = max((len(name) for panel in panels for name in panel.categories), default=0) > 18
        canvas = Canvas(figsize=(max(WIDTH * across, 7.0), (HEIGHT + 0.5 * slanted) * rows + 0.9))
        grid = canvas.subplots(rows, across, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw(axes, panel)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_axis_off()
        for row in grid:
            for axes in row[1:]:
                if axes.get_ylabel() == row[0].get_ylabel():
                    axes.set_ylabel("")
        _legend(canvas, panels)
        canvas.suptitle(title, fontsize=10)
        return save(canvas)


def save(canvas: Canvas, formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """What `savefig` writes, per format, without dates."""
    found = {}
    for format in formats:
        buffer = io.BytesIO()
        metadata: Mapping[str, Any] = {"Date": None} if format == "svg" else {}
        canvas.savefig(buffer, format=format, dpi=DPI, metadata=metadata)
        found[format] = buffer.getvalue()
    return found


def _across(panels: int) -> int:
    """Panels in a row: as the paper, four at most; five or six in rows of three."""
    return {1: 1, 2: 2, 3: 3, 5: 3, 6: 3}.get(panels, 4)


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.categories:
        _bars(axes, panel)
    else:
        _lines(axes, panel)
    if panel.note:
        axes.text(0.5, 0.5, panel.note, transform=axes.transAxes, ha="center", va="center", color="#777777")
        axes.set_xticks([])
        axes.set_yticks([])
    elif panel.y_range == "share":
        tallest = max((v for one in panel.series for v in (*one.y, *one.high) if not math.isnan(v)), default=1.0)
        axes.set_ylim(0, min(1.05, max(0.05, 1.12 * tallest)))
    else:
        axes.set_ylim(bottom=0)


def _lines(axes: Axes, panel: Panel) -> None:
    for one in panel.series:
        colour, mark = style.of(one.key)
        if one.published:
            axes.plot(one.x, one.y, color=colour, marker=mark, markersize=7, linewidth=1, **PUBLISHED)
            continue
        axes.plot(one.x, one.y, color=colour, marker=mark, markersize=5, linewidth=1.3)
        _errors(axes, one.x, one, colour)
    ticks = sorted({x for one in panel.series for x in one.x})
    if ticks and len(ticks) <= 8:
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])


def _bars(axes: Axes, panel: Panel) -> None:
    ours = [one for one in panel.series if not one.published]
    theirs = [one for one in panel.series if one.published]
    drawn = ours or theirs
    width = 0.85 / max(1, len(drawn))
    offset = {one.key: (i - (len(drawn) - 1) / 2) * width for i, one in enumerate(drawn)}
    for one in drawn:
        colour, _ = style.of(one.key)
        places = tuple(x + offset[one.key] for x in one.x)
        look: dict[str, Any] = (
            {"facecolor": "white", "edgecolor": colour, "hatch": "////"} if one.published else {"color": colour}
        )
        axes.bar(places, one.y, width=width * 0.94, **look)
        _errors(axes, places, one, "#000000")
    if ours:
        for one in theirs:
            places = tuple(x + offset.get(one.key, 0.0) for x in one.x)
            axes.plot(places, one.y, linestyle="none", color="#000000", **BESIDE_BARS)
    long = max((len(name) for name in panel.categories), default=0) > 6 and len(panel.categories) > 3
    axes.set_xticks(
        range(len(panel.categories)), panel.categories, rotation=40 if long else 0, ha="right" if long else "center"
    )
    axes.grid(axis="x", visible=False)


def _errors(axes: Axes, places: Sequence[float], one: Series, colour: str) -> None:
    if not one.low:
        return
    below = [0.0 if math.isnan(low) else max(0.0, y - low) for y, low in zip(one.y, one.low, strict=True)]
    above = [0.0 if math.isnan(high) else max(0.0, high - y) for y, high in zip(one.y, one.high, strict=True)]
    axes.errorbar(places, one.y, yerr=[below, above], fmt="none", ecolor=colour, elinewidth=0.7, capsize=1.5, alpha=0.7)


def _legend(canvas: Canvas, panels: Sequence[Panel]) -> None:
    """One legend for all panels, below them: each label once."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {}
    marked = False
    drawn_levels = {one.label: ORDER.index(one.key) for panel in panels for one in panel.series if one.key in ORDER}
    for panel in panels:
        for one in panel.series:
            marked |= one.published and not one.label
            if not one.label or one.label in handles:
                continue
            colour, mark = style.of(one.key)
            if panel.categories:
                handles[one.label] = Patch(color=colour)
            else:
                look = PUBLISHED if one.published else {}
                handles[one.label] = Line2D([], [], color=colour, marker=mark, markersize=5, **look)
    if marked:
        bars = any(panel.categories for panel in panels)
        look = BESIDE_BARS if bars else {"marker": "o", "fillstyle": "none"}
        handles["paper, unedited"] = Line2D([], [], linestyle="none", color="#000000", **look)
    if handles and drawn_levels:
        handles = dict(sorted(handles.items(), key=lambda item: drawn_levels.get(item[0], len(ORDER))))
    if handles:
        longest = max(map(len, handles))
        room = int(max(WIDTH * _across(len(panels)), 7.0) / (0.055 * longest + 0.55))
        canvas.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=max(1, min(room, len(handles))),
            frameon=False,
        )
