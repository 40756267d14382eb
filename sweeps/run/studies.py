"""Optuna's studies, kept in its own storage: one that was killed goes on with what it knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import optuna
from optuna.trial import TrialState

Direction: TypeAlias = Literal["maximize", "minimize"]


def beside(path: Path) -> str:
    """URL of a database in a file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


def opened(url: str, name: str, directions: Sequence[Direction]) -> optuna.Study:
    """A study, new or as it was left.

    Args:
        url: of the storage.
        name: of the study.
        directions: one per objective.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    patience = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=patience)
    return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)


def give_up_unfinished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that were under way when their driver ended; what they measured is kept elsewhere all the same."""
    unfinished = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    for trial in unfinished:
        study.tell(trial.number, state=TrialState.FAIL)
    return unfinished
