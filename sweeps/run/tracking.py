"""Ray Tune's callbacks that show a sweep in other tools: TensorBoard, MLflow, Weights & Biases. None by default."""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Sequence
from typing import Any

from modelfolder.errors import InputError

TOOLS = {
    "tensorboard": ("tensorboardX", "ray.tune.logger:TBXLoggerCallback", None),
    "mlflow": ("mlflow", "ray.air.integrations.mlflow:MLflowLoggerCallback", "experiment_name"),
    "wandb": ("wandb", "ray.air.integrations.wandb:WandbLoggerCallback", "project"),
}
"""Name in the configuration (and of the extra); the package that must be installed; Ray's callback,
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
    asked = [(pkgutil.resolve_name(TOOLS[name][1]), TOOLS[name][2]) for name in names]
    return [callback(**({project: sweep} if project else {})) for callback, project in asked]
