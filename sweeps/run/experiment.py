"""Ray Tune experiments: cells become trials, about a thousand at a time, each known by its axes."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.config.config import Config
from sweeps.plan.grid import Cell
from sweeps.run import cluster, tracking
from sweeps.store.folder import Folder

if TYPE_CHECKING:
    from ray.tune import ResultGrid

SHARD = 1000
"""Cells per experiment: Tune rewrites the whole state of an experiment, which costs more the more trials it has."""

TUNE_SETTINGS = {  # environment variables, to be set before ray.tune is imported
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # its own would wait for the steps under way
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a dozen files per trial that say what the rows say
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of models and data mean the same in the workers
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints even when told not to
}


def shards(cells: Sequence[Cell], size: int = SHARD) -> Iterator[list[Cell]]:
    """The cells in order, in parts of nearly equal size, none larger than `size`."""
    parts = -(-len(cells) // size)
    for part in range(parts):
        yield list(cells[part * len(cells) // parts : (part + 1) * len(cells) // parts])


def grid(cells: Sequence[Cell]) -> dict[str, Any]:
    """A parameter space of these cells; each carries its axes as readable parameters."""
    from ray import tune

    return {"cell": tune.grid_search([{"id": cell.id, **cell.axes()} for cell in cells])}


def fit(
    trainable: Any,
    space: Mapping[str, Any],
    folder: Folder,
    config: Config,
    at_a_time: int,
    cells_of: Callable[[Mapping[str, Any]], Iterable[str]],
    **tuning: Any,
) -> ResultGrid:
    """One experiment, to its end.

    Args:
        trainable: a `tune.Trainable` class, with its parameters.
        space: the parameters of the trials.
        folder: the sweep's; Tune's own files go below `tune/` in it.
        config: what a trial takes, how often it may die, and who is told about it.
        at_a_time: number of trials that run at a time.
        cells_of: the ids of a trial's cells, from its parameters.
        tuning: further arguments of `tune.TuneConfig`.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    from ray import tune

    from sweeps.run.attempts import OnlyWithoutProgress

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are reported by us, once
    tuner = tune.Tuner(
        tune.with_resources(trainable, cluster.placement(config)),
        param_space=dict(space),
        tune_config=tune.TuneConfig(max_concurrent_trials=at_a_time, reuse_actors=True, **tuning),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S") + f"-{uuid.uuid4().hex[:6]}",
            storage_path=storage_path(folder),
            failure_config=tune.FailureConfig(max_failures=config.resources.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[OnlyWithoutProgress(folder, cells_of), *tracking.callbacks(config.track, config.name)],
            verbose=0,
        ),
    )
    return tuner.fit()


def storage_path(folder: Folder) -> str:
    """Where Tune keeps its own files: below the sweep's folder, as a path or URL that Tune understands."""
    return str(Path(folder.path("tune")).resolve()) if folder.local else f"{folder.url.rstrip('/')}/tune"
