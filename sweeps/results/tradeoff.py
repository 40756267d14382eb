"""From rows to the trade-off: pure functions of the rows table (one measurement per row, see `sweeps.store.store`).

Missing stays missing: what cannot be computed is NaN, and the reason stands in the column `notes`. Nothing here reads a
file, and the order of the rows changes no result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rect.regularizers import REGULARIZERS
from sweeps.results.fronts import front, furthest

UNEDITED = "unedited"
"""Value of `setting` for the cell of the unedited model."""

IDS = ("model", "method", "setting", "batch_size", "regularizer", "k", "seed")
"""Columns that say what a cell is."""

GROUP = ("model", "method", "setting", "batch_size")
"""Cells that differ only in regularizer, k and seed: what a trade-off compares."""

PER_FACT = re.compile(r"/fact-\d+$")
EDIT_METRICS = (
    "reliability/token_accuracy",
    "reliability/preference",
    "generalization/token_accuracy",
    "generalization/preference",
    "locality/token_accuracy",
)
ABILITIES = ("perplexity", "drift")
TASK_METRICS = ("score", "score_release", "answered")

GUESSING = {"nli": 1 / 2, "closed_domain_qa": 1 / 2, "sentiment": 1 / 2, "dialogue": 1 / 4}
GUESSING |= dict.fromkeys(("reasoning", "open_domain_qa", "summarization", "ner"), 0.0)
"""Of the package's own tasks, what guessing scores; `chance` may be more."""


def task_names(rows: pd.DataFrame) -> list[str]:
    """Tasks that any row has a score of, sorted."""
    names = rows.loc[rows["kind"] == "task", "name"]
    return sorted({name.split("/")[0] for name in names if name.endswith("/score")})


def one_evaluation(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one evaluation of each measurement, so that only like is compared with like.

    A folder may hold a task's scores over 8 and, from an earlier run, over 4 examples. Per name the evaluation that
    covers most checkpoints is kept; among equals the one with more examples, then the lesser id.
    """
    if "evaluation" not in rows or rows.empty:
        return rows
    coverage = rows.groupby(["kind", "name", "evaluation"], dropna=False).agg(points=("cell", "size"), n=("n", "max"))
    coverage = coverage.reset_index().sort_values(["points", "n", "evaluation"], ascending=[False, False, True])
    chosen = coverage.drop_duplicates(["kind", "name"])[["kind", "name", "evaluation"]]
    return rows.merge(chosen, on=["kind", "name", "evaluation"], how="inner")


def chance(every: pd.DataFrame, rows: pd.DataFrame, task: str) -> dict[str, float]:
    """What knowing nothing scores in the evaluation of a task's score, by model; NaN where that is not known.

    Models differ in it where one cannot be asked all examples. Rows of earlier versions do not tell: of the package's
    own tasks it is then what guessing scores.

    Args:
        every: rows of all evaluations.
        rows: of `one_evaluation`.
    """
    evaluation = rows.loc[(rows["kind"] == "task") & (rows["name"] == f"{task}/score"), "evaluation"].unique()
    told = every[(every["name"] == f"{task}/chance") & every["evaluation"].isin(evaluation)]
    known = told.groupby("model")["value"].first()  # the first that is a number, any cell of the model tells
    guessed = GUESSING.get(task.split(":")[0], np.nan)
    return {model: float(known.get(model, guessed)) for model in rows["model"].unique()}


def tradeoff(rows: pd.DataFrame, tasks: Sequence[str] | None = None) -> pd.DataFrame:
    """One line per cell at its last checkpoint: what it keeps of the editing, and of the model's ability.

    Args:
        rows: the rows table.
        tasks: tasks that count; default all that occur in the rows.

    Returns:
        `cell`, the columns of `IDS`, `n_edits`, then
        - the edit metrics (`reliability_token_accuracy`, ...), `edit_score`: mean of reliability and generalization
          (token accuracy; reliability alone where no fact of the sweep has a rephrasing), `edit_retention`: that over
          the edit_score of the cell with regularizer `none` at the same number of edits; both again with the suffix
          `_preference`. Locality stays out: doing nothing is perfect there.
        - `<task>_score`, `<task>_score_release`, `<task>_answered`, `<task>_retention` (score over the unedited
          model's), `task_score` and `task_score_release`: means over all tasks, `task_retention`: mean over the
          `retention_tasks` tasks on which the unedited model is better than chance by two standard errors.
        - `perplexity`, `drift` and metrics asked for besides (`efficacy_success`) where measured,
          `pareto`: on the front of (edit_retention, task_retention) among the
          cells of one group and seed that went as far as any of them, `stopped`: by which rule a cell was stopped
          early, `notes`: why a value is missing, or with what a cell is not compared.
    """
    every, rows = rows, one_evaluation(rows)
    tasks = task_names(rows) if tasks is None else list(tasks)
    floors = {task: chance(every, rows, task) for task in tasks}
    wide = _wide(rows, tasks)
    last = wide.sort_values("n_edits").drop_duplicates("cell", keep="last").reset_index(drop=True)
    notes: list[list[str]] = [[] for _ in range(len(last))]
    table = last[["cell", *IDS, "n_edits"]].copy()
    for metric in EDIT_METRICS:
        table[metric.replace("/", "_")] = last[metric]
    _add_edit_retention(table, wide, notes)
    _add_task_retention(table, last, wide, floors, notes)
    for metric in (*ABILITIES, *more_metrics(rows)):
        table[metric.replace("/", "_")] = last[metric]
    stops = rows[rows["kind"] == "stop"].drop_duplicates("cell").set_index("cell")
    table = table.copy()  # one block: many single insertions leave it fragmented
    table["stopped"] = table["cell"].map(stops["name"]).fillna("").astype(str)
    table["pareto"] = front(table, by=[*GROUP, "seed"])
    for i, most in enumerate(furthest(table, [*GROUP, "seed"])):
        notes[i] += _cut_short(table.iloc[i], int(most))
    table["notes"] = ["; ".join(dict.fromkeys(note)) for note in notes]
    return _sorted(table)


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Average `tradeoff` lines over seeds, `seeds` of them. How sure both retentions are, `retention.kept` says.

    A seed whose value is missing is left out of the mean. Only cells of equal numbers of edits are averaged;
    `seeds_elsewhere` is the number of seeds that ended at another one; a line with any is on no front, as survivors are
    no fair sample.
    """
    keys = [*GROUP, "regularizer", "k", "n_edits"]
    values = [c for c in table.columns if c not in {*keys, "cell", "seed", "pareto", "ability", "stopped", "notes"}]
    groups = table.groupby(keys, dropna=False, sort=False)
    mean = groups[values].mean().reset_index()
    mean["seeds"] = groups["seed"].nunique().to_numpy()
    if "ability" in table:
        mean["ability"] = groups["ability"].first().to_numpy()
    every = mean.groupby([*GROUP, "regularizer", "k"], dropna=False)["seeds"].transform("sum")
    mean["seeds_elsewhere"] = every - mean["seeds"]
    whole = mean[mean["seeds_elsewhere"] == 0]
    mean["pareto"] = front(whole, by=GROUP).reindex(mean.index, fill_value=False)
    return _sorted(mean)


def smallest_k(table: pd.DataFrame, share: float = 0.95) -> pd.DataFrame:
    """The smallest k of each regularizer whose mean over seeds of `edit_retention` is at least `share`.

    Args:
        table: what `tradeoff` returns.
        share: of the unregularized cell's editing, e.g. 0.95.

    Returns:
        one line per group and regularizer: the columns of `GROUP`, `regularizer`, `k` (NaN if none reaches the share),
        `n_edits`, `edit_retention` and `task_retention` at that k, `reason` where k is NaN.
    """
    mean = over_seeds(table)
    mean = mean.assign(furthest=furthest(mean, GROUP))  # of the whole group: what ended earlier is not compared
    mean = mean[~mean["regularizer"].isin(["none"]) & (mean["setting"] != UNEDITED)]
    lines = []
    for keys, group in mean.groupby([*GROUP, "regularizer"], dropna=False, sort=False):
        most = int(group["furthest"].iloc[0])
        group = group[(group["n_edits"] == most) & (group["seeds_elsewhere"] == 0)]  # in the order of k
        line = dict(zip((*GROUP, "regularizer"), keys, strict=True)) | {"n_edits": most}
        enough = group[group["edit_retention"] >= share]
        if len(enough):
            first = enough.iloc[0]
            line |= {c: first[c] for c in ("k", "edit_retention", "task_retention")} | {"reason": ""}
        else:
            line |= dict.fromkeys(("k", "edit_retention", "task_retention"), np.nan)
            line["reason"] = _why_no_k(group, share) if len(group) else f"all of it ended before {most} edits"
        lines.append(line)
    columns = [*GROUP, "regularizer", "n_edits", "k", "edit_retention", "task_retention", "reason"]
    return pd.DataFrame(lines, columns=columns)


def label(regularizer: str, k: float | None) -> str:
    """What a regularizer is called in tables and pictures: "none", "rect 40"."""
    return regularizer if k is None or pd.isna(k) else f"{regularizer} {k:g}"


def more_metrics(rows: pd.DataFrame) -> list[str]:
    """Averaged metrics of the edits beside `EDIT_METRICS`, such as "efficacy/success", in order."""
    names = rows.loc[rows["kind"] == "edit", "name"].drop_duplicates()
    return [name for name in names if name not in EDIT_METRICS and not PER_FACT.search(name)]


def _wide(rows: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """One line per (cell, n_edits): `cell`, `IDS`, `n_edits` and one column per wanted measurement (NaN: not there)."""
    wanted = [
        *EDIT_METRICS,
        *more_metrics(rows),
        *ABILITIES,
        *(f"{task}/{metric}" for task in tasks for metric in TASK_METRICS),
    ]
    errors = [f"{task}/score" for task in tasks]
    part = rows[rows["name"].isin(wanted) & rows["kind"].isin(["edit", "task", "ability"])]
    values = part.pivot_table(index=["cell", "n_edits"], columns="name", values="value", aggfunc="mean")
    stderr = part.pivot_table(index=["cell", "n_edits"], columns="name", values="stderr", aggfunc="mean")
    values = values.reindex(columns=wanted)
    stderr = stderr.reindex(index=values.index, columns=errors).add_suffix(" stderr")
    # A cell with rows of other kinds only (say, its tasks failed) is listed all the same.
    ids = rows[["cell", *IDS]].drop_duplicates("cell")
    points = rows[["cell", "n_edits"]].drop_duplicates().merge(ids, on="cell")
    return points.merge(values.join(stderr).reset_index(), on=["cell", "n_edits"], how="left")


def _add_edit_retention(table: pd.DataFrame, wide: pd.DataFrame, notes: list[list[str]]) -> None:
    keys = [*GROUP, "seed", "n_edits"]
    edited = (table["setting"] != UNEDITED).to_numpy()
    for form, suffix in (("token_accuracy", ""), ("preference", "_preference")):
        names = [f"reliability/{form}", f"generalization/{form}"]
        names = names[:1] if wide[names[1]].isna().all() else names
        scored = wide.assign(score=wide[names].mean(axis=1, skipna=False))
        none = scored[scored["regularizer"] == "none"].groupby(keys, dropna=False)["score"].agg(["mean", "size"])
        own = table[["cell", *keys]].merge(scored[["cell", "n_edits", "score"]], on=["cell", "n_edits"], how="left")
        own = own.merge(none.reset_index(), on=keys, how="left")
        usable = own["score"].notna() & (own["size"] == 1) & (own["mean"] > 0) & edited
        table[f"edit_score{suffix}"] = own["score"].to_numpy()
        table[f"edit_retention{suffix}"] = (own["score"] / own["mean"]).where(usable).to_numpy()
        for i in np.flatnonzero(edited & ~usable.to_numpy()):
            notes[i].append(_why_no_edit_retention(own.iloc[i], form))


def _why_no_edit_retention(line: pd.Series, form: str) -> str:
    what = f"edit retention ({form})"
    if pd.isna(line["score"]):
        return f"{what}: reliability or generalization was not measured at {line['n_edits']} edits"
    if pd.isna(line["size"]):
        return f"{what}: no cell with regularizer none at {line['n_edits']} edits and seed {line['seed']}"
    if line["size"] > 1:
        return f"{what}: {line['size']:g} cells with regularizer none fit"
    if pd.isna(line["mean"]):
        return f"{what}: the cell with regularizer none has no score at {line['n_edits']} edits"
    return f"{what}: the score with regularizer none is 0"


def _add_task_retention(
    table: pd.DataFrame,
    last: pd.DataFrame,
    wide: pd.DataFrame,
    floors: Mapping[str, Mapping[str, float]],
    notes: list[list[str]],
) -> None:
    tasks = list(floors)
    unedited = wide[wide["setting"] == UNEDITED].groupby("model").mean(numeric_only=True)
    retained = pd.DataFrame(index=table.index)
    silent: list[list[str]] = [[] for _ in range(len(table))]  # tasks that cannot tell what is kept
    for task in tasks:
        for metric in TASK_METRICS:
            table[f"{task}_{metric}"] = last[f"{task}/{metric}"]
        base = table["model"].map(unedited[f"{task}/score"]).astype(float)
        error = table["model"].map(unedited[f"{task}/score stderr"]).astype(float)
        floor = table["model"].map(floors[task]).astype(float)
        usable = base > floor + 2 * error.fillna(0.0)
        retained[task] = (table[f"{task}_score"] / base).where(usable)
        table[f"{task}_retention"] = retained[task]
        for i in np.flatnonzero(table[f"{task}_score"].isna()):
            notes[i].append(f"{task} was not scored at {table['n_edits'].iloc[i]} edits")
        for i in np.flatnonzero(~usable):
            silent[i].append(f"{task} ({_why_silent(base.iloc[i], error.iloc[i], floor.iloc[i])})")
    for i, names in enumerate(silent):
        if names:
            notes[i].append(f"{len(names)} of {len(tasks)} tasks cannot tell what is kept: {', '.join(names)}")
    # A mean over fewer tasks than another cell's would not compare: any missing score makes it missing.
    for metric in ("score", "score_release"):
        scores = table[[f"{task}_{metric}" for task in tasks]]
        table[f"task_{metric}"] = scores.mean(axis=1, skipna=False) if tasks else np.nan
    scored = table[[f"{task}_score" for task in tasks]].notna().all(axis=1)
    table["task_retention"] = retained.mean(axis=1).where(scored) if tasks else np.nan
    table["retention_tasks"] = retained.notna().sum(axis=1)


def _why_silent(base: float, error: float, chance: float) -> str:
    """Why the unedited score of a task is none that anything could be lost of."""
    if pd.isna(base):
        return "the unedited model has no score"
    if pd.isna(chance):
        return "what knowing nothing scores is not known"
    within = f" +- {error:.2g}" if error > 0 else ""
    return f"unedited {base:.3g}{within}, chance {chance:.3g}"


def _cut_short(line: pd.Series, most: int) -> list[str]:
    """Notes on a cell that was stopped, or that others of its group have left behind."""
    n_edits = int(line["n_edits"])
    notes = [f"stopped after {n_edits} edits: {line['stopped']}"] if line["stopped"] else []
    if n_edits < most:
        notes.append(f"not compared: it has {n_edits} edits, others of its group {most}")
    return notes


def _why_no_k(group: pd.DataFrame, share: float) -> str:
    if group["edit_retention"].isna().all():
        return "edit_retention is not known for any k"
    best = group.sort_values("edit_retention", ascending=False, kind="stable").iloc[0]
    return f"no k reaches {share:.0%}; the best is {best['edit_retention']:.0%} at k = {best['k']:g}"


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """In the order of reading: the unedited model first, then by group, regularizer, k and seed."""
    order = {name: i for i, name in enumerate(REGULARIZERS)}
    keys = table.assign(
        _unedited=table["setting"] != UNEDITED,
        _regularizer=table["regularizer"].map(lambda name: (order.get(name.partition("@")[0], len(order)), name)),
    )
    names = ["model", "_unedited", "method", "setting", "batch_size", "_regularizer", "k", "n_edits"]
    names += [name for name in ("seed", "cell") if name in table]
    return table.loc[keys.sort_values(names).index].reset_index(drop=True)
