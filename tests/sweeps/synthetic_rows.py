"""Rows and outputs tables as a sweep leaves them, made up: for tests of what reads them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

TASKS = (
    "reasoning",
    "nli",
    "open_domain_qa",
    "closed_domain_qa",
    "dialogue",
    "summarization",
    "ner",
    "sentiment",
)
CHANCE = {"nli": 0.5, "closed_domain_qa": 0.5, "sentiment": 0.5, "dialogue": 0.25}
UNEDITED_SCORES = dict(zip(TASKS, (0.33, 0.52, 0.20, 0.72, 0.20, 0.125, 0.435, 0.657), strict=True))
NONE = float("nan")


def row(cell: str, n_edits: int, kind: str, name: str, value: float, **more: Any) -> dict[str, Any]:
    """One measurement; what is not given has a plain default."""
    line = {
        "cell": cell,
        "model": "m",
        "method": "rome",
        "setting": "instance-sequential",
        "batch_size": 1,
        "regularizer": "none",
        "k": NONE,
        "seed": 0,
        "n_edits": n_edits,
        "kind": kind,
        "name": name,
        "value": value,
        "stderr": 0.01,
        "n": 100,
        "engine": "transformers",
        "package_version": "0",
        "environment": "",
        "evaluation": f"{kind}-1",
        "pass": "",
    }
    return line | more


def unedited(**more: Any) -> dict[str, Any]:
    """What marks the cell of the unedited model."""
    return {"method": "none", "setting": "unedited", "batch_size": 0} | more


def sweep(
    *,
    models: tuple[str, ...] = ("smollm2-135m",),
    ks: tuple[int, ...] = (20, 40, 80),
    checkpoints: tuple[int, ...] = (2, 6),
    seeds: tuple[int, ...] = (0,),
    tasks: tuple[str, ...] = TASKS,
    n: int = 200,
    facts: int = 4,  # that have rows of their own
    seed: int = 0,
) -> pd.DataFrame:
    """A sweep in which fewer kept elements keep more of the tasks, and random masks lose the editing."""
    random = np.random.default_rng(seed)
    lines: list[dict[str, Any]] = []

    def task_rows(cell: str, n_edits: int, keep: float, ids: dict[str, Any]) -> None:
        for task in tasks:
            value = float(np.clip(UNEDITED_SCORES[task] * keep + random.normal(0, 0.01), 0, 1))
            error = float(np.sqrt(value * (1 - value) / n))
            for metric, v in (
                ("score", value),
                ("score_release", value * 0.9),
                ("score_answered", value),
                ("answered", keep),
                ("chance", CHANCE.get(task, 0.0)),
            ):
                more = {"stderr": error, "n": n, "evaluation": f"task-{task}"}
                lines.append(row(cell, n_edits, "task", f"{task}/{metric}", v, **ids, **more))

    for model in models:
        task_rows(f"{model}-unedited", 0, 1.0, unedited(model=model))
        grid = [("none", NONE), *(("rect", float(k)) for k in ks), ("random", 40.0)]
        for regularizer, k in grid:
            share = 1.0 if regularizer == "none" else k / 100
            for s in seeds:
                cell = f"{model}-{regularizer}-{k:g}-{s}"
                ids = {"model": model, "regularizer": regularizer, "k": k, "seed": s}
                editing = {"none": 1.0, "rect": 1 - 0.3 * (1 - share) ** 3, "random": 0.4}[regularizer]
                for point in checkpoints:
                    keep = float(np.exp(-0.25 * share * point))
                    for name, top in (("reliability", 1.0), ("generalization", 0.9), ("locality", 0.95)):
                        forms = ("token_accuracy", "preference") if name != "locality" else ("token_accuracy",)
                        for form in forms:
                            base = top if name == "locality" else top * editing
                            each = np.clip(random.normal(base, 0.03, point), 0, 1)
                            value, error = float(each.mean()), float(each.std() / np.sqrt(len(each)))
                            more = {"stderr": error, "n": len(each)}
                            lines.append(row(cell, point, "edit", f"{name}/{form}", value, **ids, **more))
                            lines.extend(
                                row(cell, point, "edit", f"{name}/{form}/fact-{i}", float(v), **ids, stderr=NONE, n=1)
                                for i, v in enumerate(each[:facts])
                            )
                    task_rows(cell, point, keep, ids)
                    lines.append(row(cell, point, "ability", "perplexity", 31.8 / keep, **ids))
                    matrix = "model.layers.5.mlp.down_proj.weight"
                    lines.append(row(cell, point, "weights", f"{matrix}/manhattan", 9000.0 * point * share, **ids))
                    lines.append(row(cell, point, "weights", f"{matrix}/share_kept", share, **ids))
                    lines.append(row(cell, point, "time", "editing_seconds", 8.0, **ids))
                    lines.append(row(cell, point, "time", "generating_seconds", 20.0, **ids))
    return pd.DataFrame(lines)


def outputs(rows: pd.DataFrame, each: int = 3) -> pd.DataFrame:
    """Generations of every checkpoint of `rows`, some with markup in them."""
    lines = []
    tasks = sorted({name.split("/")[0] for name in rows.loc[rows["kind"] == "task", "name"]})
    for cell, point in rows[["cell", "n_edits"]].drop_duplicates().itertuples(index=False):
        for task in tasks:
            for index in range(each):
                text = " positive" if point == 0 else "<script>document.title='broken'</script> the the the <b>the</b>"
                lines.append(
                    {
                        "cell": cell,
                        "n_edits": point,
                        "task": task,
                        "index": index,
                        "prompt": f"A {task} prompt, {index}: </script><img src=x onerror=alert(1)> & more\nanswer:",
                        "output": text,
                        "gold": json.dumps("positive"),
                        "score": 1.0 if point == 0 else 0.0,
                        "evaluation": f"task-{task}",
                        "unit": str(index),
                        "numerator": NONE,
                        "denominator": NONE,
                    }
                )
    return pd.DataFrame(lines)
