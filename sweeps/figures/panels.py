"""From rows to panels: what stands in a figure, before anything is drawn. Pure functions of the rows table.

A panel that a figure asks for and the rows cannot fill is there all the same, empty, with the reason in `note`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from sweeps.figures import paper
from sweeps.figures.specs import Figure
from sweeps.results import curves, tradeoff
from sweeps.results.headlines import count
from sweeps.results.measured import EDITING

TASK_TITLES = {
    "reasoning": "Reasoning",
    "nli": "NLI",
    "open_domain_qa": "Open-domain QA",
    "closed_domain_qa": "Closed-domain QA",
    "dialogue": "Dialogue",
    "summarization": "Summarization",
    "ner": "NER",
    "sentiment": "Sentiment analysis",
}
METHOD_TITLES = {"rome": "ROME", "memit": "MEMIT", "kn": "KN", "mend": "MEND"}
REGULARIZER_TITLES = {
    "none": "Unregularized",
    "rect": "RECT top-{}%",
    "pca-release": "PCA {}%",
    "pca": "PCA (rebuilt) {}%",
}
ORDER = ("none", "rect 80", "rect 60", "rect 40", "rect 20", "random 40", "pca-release 40", "pca 40", "magnitude 40")
SCORES = {"score_release": "release's score", "score": "score"}


@dataclass(frozen=True)
class Series:
    """One line, or one colour of bars.

    Attributes:
        key: what decides its colour and mark: a task, a regularizer ("rect 40"), or a number in order ("2").
        x: numbers, or indices of the panel's categories.
        low, high: 95% interval over edited models, of one over its facts or examples; may be NaN.
        published: taken from the paper.
    """

    key: str
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    published: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes. With `categories` it holds groups of bars, else lines."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...] = ()
    categories: tuple[str, ...] = ()
    note: str = ""
    y_range: Literal["share", "free"] = field(default="share")


def regularizer_title(name: str) -> str:
    """ "rect 40" -> "RECT top-40%"."""
    kind, _, k = name.partition(" ")
    return REGULARIZER_TITLES.get(kind, f"{kind.capitalize()} {{}}%").format(k)


def points_of(rows: pd.DataFrame) -> pd.DataFrame:
    """`curves.curves` with `shown` (the paper's name of the model) and `level` ("rect 40").

    Raises:
        InputError: two models, or two methods on a model, would be one line.
    """
    points = curves.curves(rows, ("edit", "task"))
    shown = pd.Series([paper.shown(model) for model in points["model"]], points.index, dtype=str)
    method = points["method"].str.split(" (", regex=False).str[0]  # "mend (GPT-2 XL)": a label says for which model
    paper.check_apart(points.assign(as_model=shown, as_method=method))
    return points.assign(
        shown=shown,
        method=method,
        level=[tradeoff.label(name, k) for name, k in zip(points["regularizer"], points["k"], strict=True)],
    )


def models_of(points: pd.DataFrame, figure: Figure) -> tuple[str, ...]:
    """The figure's models if the rows have one of them, else the rows' own, else the figure's."""
    there = list(dict.fromkeys(points["shown"]))
    return figure.models if set(there) & set(figure.models) else tuple(there) or figure.models


def tasks_over_edits(rows: pd.DataFrame, figure: Figure, score: str) -> Iterator[Panel]:
    """Figures 3 and 9: a panel per method and model, a line per task."""
    for method, model, part in _unregularized(rows, figure):
        series = [_line(part[part["name"] == f"{task}/{score}"], task, TASK_TITLES[task]) for task in figure.tasks]
        known = [_published(task, [(0, paper.unedited(model, task))]) for task in figure.tasks]
        yield _panel(_who(method, model), "number of edits", score, series, known)


def tasks_by_batch(rows: pd.DataFrame, figure: Figure, score: str) -> Iterator[Panel]:
    """Figures 4 and 10: a panel per method and model, a group of bars per task, a colour per batch size."""
    pairs = [*_unregularized(rows, figure)]
    sizes = sorted({size for *_, part in pairs for size in part["n_edits"]})  # of all, so that a colour means one size
    names = [f"{task}/{score}" for task in figure.tasks]
    for method, model, part in pairs:
        series = [
            _bars(part[part["n_edits"] == size], names, str(i), f"batch {size:g}" if size else "not edited")
            for i, size in enumerate(sizes)
        ]
        known = [_published("0", [(i, paper.unedited(model, task)) for i, task in enumerate(figure.tasks)])]
        measured = set(part["name"])
        groups = [
            TASK_TITLES[task] + ("" if name in measured or part.empty else " (not run)")  # else it would look like zero
            for task, name in zip(figure.tasks, names, strict=True)
        ]
        yield _panel(_who(method, model), "", score, series, known, groups)


def batches_over_edits(rows: pd.DataFrame, figure: Figure, score: str) -> Iterator[Panel]:
    """Figures 11 to 16: a panel per task, a group of bars per batch size, a colour per number of edits."""
    for method, model, part in _unregularized(rows, figure):
        sizes, edits = sorted(part["batch_size"].unique()), sorted(part["n_edits"].unique())
        for task in figure.tasks:
            mine = part[part["name"] == f"{task}/{score}"]
            series = []
            for i, n in enumerate(edits):
                at = mine[mine["n_edits"] == n].set_index("batch_size")
                found = [(j, at.loc[size]) for j, size in enumerate(sizes) if size in at.index]
                series.append(_series(str(i), count(int(n), "edit"), found))
            known = [_published("0", [(j, paper.unedited(model, task)) for j in range(len(sizes))])]
            title = _task_title(task, method, model, figure)
            yield _panel(title, "facts per operation", score, series, known, [f"{size:g}" for size in sizes])


def regularizers_over_edits(rows: pd.DataFrame, figure: Figure, score: str) -> Iterator[Panel]:
    """Figure 8 and its like: a panel per task, a line per regularizer; below, what the paper found, where known."""
    points = points_of(rows)
    for method, model, part in _pairs(points[points["setting"] == figure.setting], figure):
        for task in figure.tasks:
            mine = part[part["name"] == f"{task}/{score}"]
            series = [_line(mine[mine["level"] == level], level, regularizer_title(level)) for level in _levels(mine)]
            yield _panel(_task_title(task, method, model, figure), "number of edits", score, series)
    theirs, last, values = paper.after_editing()
    for task in figure.tasks if theirs in figure.models else ():
        start = paper.unedited(theirs, task)
        known = [
            _published(level, [(0, start), (last, found[task])], regularizer_title(level))
            for level, found in values.items()
            if task in found and start is not None
        ]
        if known:
            yield _panel(f"{TASK_TITLES[task]}\npaper, {theirs}", "number of edits", "score_release", [], known)


def editing(rows: pd.DataFrame, figure: Figure, score: str) -> Iterator[Panel]:
    """Figure 7: a panel per method and model, groups of bars for reliability, generalization, locality."""
    names = [f"{what}/token_accuracy" for what in EDITING]
    groups = tuple(what.capitalize() for what in EDITING)
    label = "editing (share of target tokens)"
    pairs = [*_pairs(points_of(rows), figure)]
    for method, model, part in pairs:
        part = _widest(part)
        series = [
            _bars(part[part["level"] == level], names, level, regularizer_title(level)) for level in _levels(part)
        ]
        title = _who(method, model) + (f"\n{_where(part)}" if len(part) else "")
        yield replace(_panel(title, "", score, series, [], groups), y_label=label)
    known = [(method, model) for method, model, _ in pairs if paper.editing(method, model)]
    for method, model in known or [(method, "GPT-2 XL") for method in figure.methods]:
        found = paper.editing(method, model).items()
        series = [_published(level, [*enumerate(values)], regularizer_title(level)) for level, values in found]
        if series:
            yield Panel(f"paper: {_who(method, model)}", "", label, tuple(series), groups)


def table(rows: pd.DataFrame, figure: Figure, score: str) -> list[Panel]:
    """Table 1 as two panels over the number of edits, the paper's GPT-2 XL beside each."""
    part = rows[(rows["kind"] == "weights") & (rows["regularizer"] == "none") & (rows["setting"] == figure.setting)]
    part = part[part["method"].isin(figure.methods)]
    part = part.assign(what=part["name"].str.rpartition("/")[2], matrix=part["name"].str.rpartition("/")[0])
    panels = []
    for title, label, kinds in (
        ("Distance from the unedited weights", "sum of |change|", {"manhattan": ("", 1)}),
        (
            "Elements that changed a lot",
            "share of elements",
            {"share_over_0.077": ("over 0.077: ", 2), "share_over_0.171": ("over 0.171: ", 3)},
        ),
    ):
        series: list[Series] = []
        for what, (text, column) in kinds.items():
            for (model, matrix), lines in part[part["what"] == what].groupby(["model", "matrix"], sort=True):
                mean = lines.groupby("n_edits")["value"].mean()
                x = tuple(float(n) for n in mean.index)
                name = f"{text}{paper.shown(str(model))}, {str(matrix).removesuffix('.weight')}"
                series.append(Series(str(len(series)), name, x, tuple(float(v) for v in mean)))
            found = [(line[0], float(line[column])) for line in paper.table_1()]
            series.append(_published(str(len(series)), found, f"{text}paper, GPT-2 XL"))
        panels.append(Panel(title, "number of edits", label, tuple(series), y_range="free"))
    if part.empty:
        panels[0] = replace(panels[0], note="no weight statistics of ROME without regularizer")
    return panels


def as_table(panels: Iterable[Panel]) -> pd.DataFrame:
    """Every number of a figure: panel, series, x, y, low, high, published."""
    lines = []
    for panel in panels:
        for one in panel.series:
            for i, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
                place = panel.categories[int(x)] if panel.categories else x
                bounds = (one.low[i], one.high[i]) if one.low else (float("nan"), float("nan"))
                title = panel.title.replace("\n", ", ")
                lines.append((title, one.label or one.key, place, y, *bounds, one.published))
    return pd.DataFrame(lines, columns=["panel", "series", "x", "y", "low", "high", "published"])


def _who(method: str, model: str) -> str:
    return f"{METHOD_TITLES.get(method, method)} on {model}"


def _task_title(task: str, method: str, model: str, figure: Figure) -> str:
    """The task's; also who it is of, where the figure's own title does not say it."""
    return TASK_TITLES[task] if (model,) == figure.models else f"{TASK_TITLES[task]}\n{_who(method, model)}"


def _unregularized(rows: pd.DataFrame, figure: Figure) -> Iterator[tuple[str, str, pd.DataFrame]]:
    points = points_of(rows)
    return _pairs(points[(points["setting"] == figure.setting) & (points["regularizer"] == "none")], figure)


def _pairs(points: pd.DataFrame, figure: Figure) -> Iterator[tuple[str, str, pd.DataFrame]]:
    mine = points[points["method"].isin(figure.methods)]
    for method in figure.methods:
        for model in models_of(mine, figure):
            yield method, model, mine[(mine["method"] == method) & (mine["shown"] == model)]


def _levels(part: pd.DataFrame) -> list[str]:
    there = list(dict.fromkeys(part["level"]))
    return [level for level in ORDER if level in there] + sorted(level for level in there if level not in ORDER)


def _widest(part: pd.DataFrame) -> pd.DataFrame:
    """Of several settings and batch sizes the one under which most regularizers were run, at its last checkpoint."""
    keys = ["setting", "batch_size"]
    edits = part[part["kind"] == "edit"]
    if edits.empty:
        return edits
    place = edits.groupby(keys, dropna=False)["level"].nunique().sort_values(kind="stable").index[-1]
    chosen = edits[
        (edits["setting"] == place[0]) & (edits["batch_size"].fillna(-1) == (-1 if pd.isna(place[1]) else place[1]))
    ]
    per_point = chosen.groupby("n_edits")["level"].nunique()
    full = per_point[per_point == per_point.max()].index.max()
    return chosen[chosen["n_edits"] == full]


def _where(part: pd.DataFrame) -> str:
    line = part.iloc[0]
    if line["setting"] == "batch-single":
        return f"one batch of {line['n_edits']:g}"
    batch = f" of {line['batch_size']:g} facts" if line["batch_size"] > 1 else ""
    return f"{line['n_edits']:g} edits{batch}"


def _panel(
    title: str,
    x_label: str,
    score: str,
    series: Sequence[Series],
    known: Sequence[Series] = (),
    categories: Sequence[str] = (),
) -> Panel:
    # A line that has nothing but the unedited model was not measured.
    filled = [one for one in series if one.x and (categories or any(one.x))]
    theirs = [one for one in known if one.x]
    note = "" if filled or (theirs and not series) else "not in this sweep"
    shown = [*filled, *theirs] if filled or not series else []
    return Panel(title, x_label, f"performance ({SCORES[score]})", tuple(shown), tuple(categories), note)


def _line(part: pd.DataFrame, key: str, label: str) -> Series:
    return _series(key, label, [(line["n_edits"], line) for _, line in part.sort_values("n_edits").iterrows()])


def _bars(part: pd.DataFrame, names: Sequence[str], key: str, label: str) -> Series:
    by_name = {line["name"]: line for _, line in part.drop_duplicates("name").iterrows()}
    return _series(key, label, [(i, by_name[name]) for i, name in enumerate(names) if name in by_name])


def _series(key: str, label: str, found: Sequence[tuple[float, pd.Series]]) -> Series:
    columns = {name: tuple(float(line[name]) for _, line in found) for name in ("mean", "low", "high")}
    return Series(key, label, tuple(float(x) for x, _ in found), columns["mean"], columns["low"], columns["high"])


def _published(key: str, found: Iterable[tuple[float, float | None]], label: str = "") -> Series:
    known = [(float(x), float(y)) for x, y in found if y is not None]
    return Series(key, label, tuple(x for x, _ in known), tuple(y for _, y in known), published=True)
