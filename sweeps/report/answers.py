"""What the report says of free generation: beside teacher forcing, whether metrics agree, and the answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from sweeps.results import agreement, answered, tradeoff
from sweeps.results.headlines import count, place
from sweeps.results.ranking import PLACES
from sweeps.results.tradeoff import label
from sweeps.store.outputs import METRIC, Outputs, is_metric
from sweeps.store.schema import OUTPUTS

Section = dict[str, Any]  # title, sentence, lines of texts
HEAD = {
    "forced": "forced",
    "contains": "contains",
    "exact_match": "exact",
    "contains_at_period": 'contains, to "."',
    "exact_match_at_period": 'exact, to "."',
    "judged": "judged",
    "lost": "forced alone (95%)",
    "lost_exact": "forced, not exact",
}


def beside(rows: pd.DataFrame, table: pd.DataFrame) -> list[Section]:
    """Tables of `results.answered`, one per metric, kind and place: `title`, `sentence`, `head` and `lines`."""
    sections: list[Section] = []
    for _, part in answered.beside(rows, table).groupby(["metric", "kind", *PLACES], dropna=False, sort=False):
        head = {name: title for name, title in HEAD.items() if part[name].notna().any()}
        lines = [[_who(line), *_figures(line, head), str(int(line["facts"]))] for _, line in part.iterrows()]
        sections.append({
            "title": f"{_where(part)}: {part['kind'].iloc[0]} by {part['metric'].iloc[0]}",
            "sentence": _worst(part),
            "head": ["method and regularizer", *head.values(), "edits"],
            "lines": lines,
        })  # fmt: skip
    return sections


def _worst(part: pd.DataFrame) -> str:
    line = part.sort_values("lost", ascending=False, kind="stable").iloc[0]
    if line["lost"] == 0:
        return "No edit counts under teacher forcing alone."
    return (
        f"Most is lost of {_who(line)}: {line['forced']:.0%} of its edits count under teacher forcing, "
        f"{line['contains']:.0%} when the model answers, and {line['lost']:.0%} by the first alone."
    )


def _who(line: pd.Series) -> str:
    return f"{line['method']} {label(line['regularizer'], line['k'])}"


def _where(part: pd.DataFrame) -> str:
    model, setting, batch_size, n_edits = (part[name].iloc[0] for name in PLACES)
    return place([model, setting], float(batch_size), float(n_edits))


def _figures(line: pd.Series, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        known = name == "lost" and not pd.isna(line["low"])
        value = "–" if pd.isna(line[name]) else f"{line[name]:.0%}"
        yield value + (f" ({line['low']:.0%} to {line['high']:.0%})" if known else "")


def alike(table: pd.DataFrame) -> list[Section]:
    """Tables of `results.agreement`, one per place."""
    sections: list[Section] = []
    for _, part in agreement.agreement(table).groupby(PLACES, dropna=False, sort=False):
        lines = [
            [_named(line["first"]), _named(line["second"]), _tau(line), str(line["seeds"]), str(line["competitors"])]
            for _, line in part[part["tau"].notna()].iterrows()
        ]
        sections.append({
            "title": _where(part),
            "sentence": _sureness(part),
            "head": ["one metric", "another", "tau (95%)", "edited models", "ranked"],
            "lines": lines,
        })  # fmt: skip
    return sections


def _sureness(part: pd.DataFrame) -> str:
    gone = part[part["tau"].isna()]
    told = [
        f"{len(lines)} of {len(part)} pairs of metrics cannot be compared: {note}."
        for note, lines in gone.groupby("note", sort=False)
    ]
    most = int(part["seeds"].max())
    if most:
        over = f"Brackets: 95% interval over {count(most, 'edited model')} each."
        alone = "Of one edited model each: for others it may be otherwise."
        told = [
            "Kendall's tau-b between the orders in which two metrics put methods with their regularizers: 1 alike, "
            f"-1 reversed. {over if most > 1 else alone}",
            *told,
        ]
    return " ".join(told)


def _named(column: str) -> str:
    return column.replace("_", " ")


def _tau(line: pd.Series) -> str:
    return f"{line['tau']:+.2f}" + ("" if pd.isna(line["low"]) else f" ({line['low']:+.2f} to {line['high']:+.2f})")


def unedited(outputs: Outputs, table: pd.DataFrame) -> pd.DataFrame:
    """Outputs of the unedited cells, made of what edited ones keep of their answers (`gold`, "before")."""
    cells = table.loc[table["setting"] == tradeoff.UNEDITED, ["model", "cell", "n_edits"]]
    told = OUTPUTS.empty_table().to_pandas().assign(model=None).drop(columns=["cell", "n_edits"])
    spoken: set[str] = set()  # cells with such answers
    for batch in outputs.batches(["cell", "task"]):
        spoken.update(batch.loc[batch["task"].str.startswith(METRIC), "cell"])
    for batch in outputs.batches(OUTPUTS.names, spoken) if spoken else ():
        mine = batch[is_metric(batch) & batch["output"].notna()].merge(table[["cell", "model"]], on="cell")
        if len(mine):
            both = [one for one in (told, mine.drop(columns=["cell", "n_edits"])) if len(one)]
            told = pd.concat(both).drop_duplicates(["model", "task", "index", "prompt"])
    told = told.merge(cells, on="model")
    told = told.assign(output=[json.loads(gold)["before"] for gold in told["gold"]], score=float("nan"))
    return told[OUTPUTS.names]


def right(gold: dict[str, Any]) -> str:
    """The right answer of a metric's output as a person reads it."""
    answers = " or ".join(gold["answers"])
    return f"{answers or 'as before the edit'} ({gold['kind'].replace('/', ', ')})"
