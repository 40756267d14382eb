"""Ray Tune's callbacks that show a sweep in other tools: TensorBoard, MLflow, Weights & Biases. None by default."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from modelfolder.errors import InputError

TOOLS = {
    "tensorboard": ("tensorboardX", "ray.tune.logger", "TBXLoggerCallback", None),
    "mlflow": ("mlflow", "ray.air.integrations.mlflow", "MLflowLoggerCallback", "experiment_name"),
    "wandb": ("wandb", "ray.air.integrations.wandb", "WandbLoggerCallback", "project"),
}
"""Name in the configuration (and of the extra); the package that must be installed; module and class of Ray's callback,
and what it calls the sweep's name. Where MLflow keeps it: MLFLOW_TRACKING_URI."""


def check(names: Sequence[str]) -> None:
    """Whether what is asked for is installed.

    Raises:
        InputError: it is not.
    """
    for name in names:
        package = TOOLS[name][0]
        if importlib.util.find_spec(package) is None:
            raise InputError(f"track: {name} is not installed: pip install {package}")


def callbacks(names: Sequence[str], sweep: str) -> list[Any]:
    """One callback per name; cells appear with their axes as parameters, in a project of the sweep's name."""
    check(names)
    found = []
    for _, module, callback, project in (TOOLS[name] for name in names):
        made = getattr(importlib.import_module(module), callback)
        found.append(made(**({} if project is None else {project: sweep})))
    return found
