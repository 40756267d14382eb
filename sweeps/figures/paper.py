"""What the paper published, from `sweeps/figures/data/paper.yaml`, and under which names its models go."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import pandas as pd
import yaml

from modelfolder.errors import InputError


@functools.cache
def published() -> dict[str, Any]:
    """The data file's content; not to be changed."""
    text = resources.files("sweeps.figures").joinpath("data", "paper.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def shown(model: str) -> str:
    """The paper's name of a model, or the model's own last part: "GPT-2 XL", "smollm2-135m"."""
    for name, known in published()["models"].items():
        if model in known or model == name:
            return str(name)
    return model.rstrip("/").rpartition("/")[2]


def check_apart(points: pd.DataFrame) -> None:
    """Raise InputError where two models (`model`) or methods (`method`) go by one name (`as_model`, `as_method`)."""
    for keys, what in ((["as_model"], "model"), (["as_model", "as_method"], "method")):
        for called, part in points.groupby(keys):
            names = sorted(part[what].unique())
            if len(names) > 1:
                raise InputError(
                    f"{' and '.join(names)} are both shown as {called[-1]} in the paper's figures: "
                    f"name one of the two {what}s in the configuration, or run them into folders of their own"
                )


def unedited(model: str, task: str) -> float | None:
    """Published score of the unedited model on a task."""
    value = published()["unedited"].get(shown(model), {}).get(task)
    return None if value is None else float(value)


def editing(method: str, model: str) -> dict[str, list[float]]:
    """Figure 7: {regularizer: [reliability, generalization, locality]}, empty where the paper has none."""
    return dict(published()["figure_7"].get(method, {}).get(shown(model), {}))


def after_editing() -> tuple[str, int, dict[str, dict[str, float]]]:
    """Figure 8: the model, the number of edits, {regularizer: {task: score}}."""
    data = dict(published()["figure_8"])
    return str(data.pop("model")), int(data.pop("n_edits")), data


def table_1() -> list[tuple[int, float, float, float]]:
    """(edits, Manhattan distance, share of delta over 0.077, over 0.171) of ROME on GPT-2 XL."""
    return [(int(n), float(m), float(a), float(b)) for n, m, a, b in published()["table_1"]["lines"]]
