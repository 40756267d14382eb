"""Ray Tune's callbacks that show a sweep in other tools: TensorBoard, MLflow, Weights & Biases. None by default."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from modelfolder.errors import InputError

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
"""Name in the configuration, and the package that must be installed; its extra has the name's name."""


def check(names: Sequence[str]) -> None:
    """Whether what is asked for is installed.

    Raises:
        InputError: it is not.
    """
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise InputError(f"track: {name} is not installed: pip install {PACKAGES[name]}")


def callbacks(names: Sequence[str], sweep: str) -> list[Any]:
    """One callback per name; cells appear with their axes as parameters, in a project of the sweep's name."""
    makers: dict[str, Callable[[str], Any]] = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
    check(names)
    return [makers[name](sweep) for name in names]


def _tensorboard(sweep: str) -> Any:
    from ray.tune.logger import TBXLoggerCallback

    return TBXLoggerCallback()


def _mlflow(sweep: str) -> Any:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(experiment_name=sweep)  # where to: MLFLOW_TRACKING_URI


def _wandb(sweep: str) -> Any:
    from ray.air.integrations.wandb import WandbLoggerCallback

    return WandbLoggerCallback(project=sweep)
