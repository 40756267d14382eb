"""The page's examples: prompts, and what each cell answered at its last checkpoint, as far as a budget goes.

The texts of a sweep may be gigabytes. Their lengths are read first, then the texts of the cells that fit.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pandas as pd

from sweeps.report import answers
from sweeps.report.plain import plain
from sweeps.results import tradeoff
from sweeps.store.outputs import Outputs
from sweeps.store.schema import OUTPUTS

CHARACTERS = 1_500_000
"""Budget of the example outputs in the page; what does not fit stays in `outputs/`."""
LINE = 20  # characters around an output


def examples(outputs: Outputs, table: pd.DataFrame) -> dict[str, Any]:
    """Prompts once, and what each cell answered at its last checkpoint, as far as the budget goes.

    `prompts`: {task: {index: [prompt, gold]}}, `outputs`: {cell: {task: {index: [output, score]}}}, `left_out`: number
    of cells without examples here. Unedited, unregularized and front cells go first.
    """
    found: dict[str, Any] = {"prompts": {}, "outputs": {}, "left_out": 0}
    if table.empty:
        return found
    order = table.assign(
        last=~((table["setting"] == tradeoff.UNEDITED) | (table["regularizer"] == "none") | table["pareto"])
    ).sort_values("last", kind="stable")
    points = order[["cell", "n_edits"]]
    sizes, told = _sizes(outputs, points), answers.unedited(outputs, table)
    for cell, part in told.groupby("cell", sort=False):
        sizes[str(cell)] += _size(part["output"])
    read, few, left = 0, [], CHARACTERS
    for cell in order["cell"]:
        if 0 < sizes[cell] <= CHARACTERS and read <= 2 * CHARACTERS:
            few.append(cell)
            read += sizes[cell]
    last = pd.concat([_texts(outputs, points[points["cell"].isin(few)]), told[told["cell"].isin(few)]])
    by_cell = dict(iter(last.sort_values(["task", "index"]).groupby("cell", sort=False)))
    for cell in order["cell"]:
        if not sizes[cell]:
            continue
        if cell not in by_cell or sizes[cell] > left:
            found["left_out"] += 1
            continue
        left -= sizes[cell]
        mine = found["outputs"].setdefault(cell, {})
        columns = by_cell[cell][["task", "index", "prompt", "output", "gold", "score"]]
        for task, index, prompt, output, gold, score in columns.itertuples(index=False, name=None):
            prompts = found["prompts"].setdefault(task, {})
            if str(index) not in prompts:
                prompts[str(index)] = [prompt, _gold(gold)]
                left -= len(prompt)
            if prompts[str(index)][0] == prompt:  # of another edit set it may be another one
                mine.setdefault(task, {})[str(index)] = [output, plain(score)]
    return found


def _sizes(outputs: Outputs, points: pd.DataFrame) -> Counter[str]:
    """Per cell what its outputs at its point would take of the budget."""
    sizes: Counter[str] = Counter()
    for batch in outputs.batches(["cell", "n_edits", "output"], set(points["cell"])):
        kept = batch[batch["output"].notna()].merge(points, on=["cell", "n_edits"])
        for cell, part in kept.groupby("cell", sort=False):
            sizes[str(cell)] += _size(part["output"])
    return sizes


def _size(texts: pd.Series) -> int:
    return int(texts.str.len().sum()) + LINE * len(texts)


def _texts(outputs: Outputs, points: pd.DataFrame) -> pd.DataFrame:
    """The outputs of these points that have texts, each once."""
    found = [OUTPUTS.empty_table().to_pandas()]
    if len(points):
        for batch in outputs.batches(OUTPUTS.names, set(points["cell"])):
            found.append(batch[batch["output"].notna()].merge(points, on=["cell", "n_edits"]))
    whole = pd.concat([one for one in found if len(one)] or found, ignore_index=True)
    return whole.drop_duplicates(["cell", "task", "index", "evaluation"])


def _gold(text: Any) -> str:
    """The right answer as a person writes it: JSON strings without quotes, lists with commas."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError):
        return str(text)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, dict) and "before" in value:
        return answers.right(value)
    return json.dumps(value, ensure_ascii=False)
