"""Optuna's search over k as Ray Tune experiments, one study for each group of cells and regularizer.

The study lies in Optuna's own storage, so a search that was killed goes on with what it knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from modelfolder.errors import InputError
from sweeps.config.search import OptunaSpec
from sweeps.plan import search
from sweeps.plan.grid import Cell
from sweeps.plan.identity import Plan, identify
from sweeps.results.tradeoff import GROUP
from sweeps.run import studies
from sweeps.run.trial import EditingTrial
from sweeps.store.store import Store

log = logging.getLogger(__name__)

OBJECTIVES = ("edit_score", "ability")
Group = tuple[Any, ...]
Fit = Callable[..., None]


class SearchTrial(EditingTrial):
    """One k that Optuna asks for: the cells of all seeds in turn, then the two objectives, averaged over them."""

    def _begin(self, config: dict[str, Any]) -> None:
        self._cells = cells_of(self.job.plan, config)
        search.pick(self.job.plan, self.store, self._cells)
        self._taken = 1
        self._take(self._cells[0])

    def step(self) -> dict[str, Any]:
        """Go on to the next checkpoint, of the next cell after a last one."""
        result = super().step()
        if not result["done"] or "failed" in result:
            return result
        if self._taken < len(self._cells):
            self._taken += 1
            self._take(self._cells[self._taken - 1])
            return {**result, "done": False}
        return result | self._objectives()

    def _objectives(self) -> dict[str, Any]:
        plan = self.job.plan
        mine = {cell.id for cell in self._cells}
        first = self._cells[0]
        compared = [cell.id for cell in plan.cells if cell.model == first.model and cell.regularizer == "none"]
        table = search.objectives(plan, self.store.rows([*compared, *mine]))
        found = table[table["cell"].isin(mine)][list(OBJECTIVES)].mean(skipna=False)
        unknown = [name for name in OBJECTIVES if found.isna()[name]]
        if unknown:
            why = "; ".join(sorted({note for note in table.loc[table["cell"].isin(mine), "notes"] if note}))
            return {"failed": f"{', '.join(unknown)} cannot be computed: {why or 'nothing was measured'}"}
        return {name: float(found[name]) for name in OBJECTIVES}


def _spec(plan: Plan) -> OptunaSpec:
    assert plan.config.search is not None
    assert plan.config.search.optuna is not None
    return plan.config.search.optuna


def groups(plan: Plan) -> dict[Group, dict[float, list[Cell]]]:
    """Per group and regularizer: per k the cells of all seeds."""
    assert plan.config.search is not None
    found: dict[Group, dict[float, list[Cell]]] = {}
    for cell in (*plan.cells, *plan.candidates):
        axes = cell.axes()
        if cell.regularizer in plan.config.search.regularizers and cell.k in plan.config.search.ks:
            group = tuple(axes[name] for name in (*GROUP, "regularizer"))
            found.setdefault(group, {}).setdefault(axes["k"], []).append(cell)
    return found


def cells_of(plan: Plan, config: Mapping[str, Any]) -> list[Cell]:
    """The cells of a trial's parameters."""
    spec = _spec(plan)
    step = round((config["k"] - spec.low) / spec.step)
    return groups(plan)[tuple(config["group"])][spec.ks[step]]


def study_of(plan: Plan, store: Store, group: Group) -> optuna.Study:
    """The study of a group, new or as it was left.

    Raises:
        InputError: the folder cannot hold Optuna's database and no other place is named.
    """
    url = _spec(plan).storage
    if url is None:
        if not store.folder.local:
            raise InputError(f"search.optuna.storage: {store.url} cannot hold a database; name one, such as "
                             "sqlite:////shared/optuna.db or postgresql://...")  # fmt: skip
        url = studies.beside(Path(store.folder.path("search/optuna.db")))
    name = f"{search.search_id(plan)}-{_asked(plan, group)}"
    return studies.opened(url, name, ["maximize"] * 2)


def _asked(plan: Plan, group: Group) -> str:
    """Id of what the trials of a group measure: other facts, weights, seeds or tasks give other points."""
    cells = [cell for of_k in groups(plan)[group].values() for cell in of_k]
    asked = sorted((cell.id, *cell.checkpoints, *sorted(plan.wanted(cell))) for cell in cells)
    return identify("study", *group, asked)[:16]


def optimize(plan: Plan, store: Store, fit: Fit) -> None:
    """Bring every study of a plan to the number of trials that is asked for.

    Args:
        fit: runs an experiment: (trainable, space, number of trials, more arguments of `tune.TuneConfig`).
    """
    spec = _spec(plan)
    for group in groups(plan):
        study = study_of(plan, store, group)
        studies.give_up_unfinished(study)
        left = spec.trials - len(study.get_trials(states=[TrialState.COMPLETE]))
        if left <= 0:
            continue
        searcher = OptunaSearch(
            metric=list(OBJECTIVES),
            mode=["max", "max"],
            study_name=study.study_name,
            storage=study._storage,  # the one that `create_study` was given, with its cache
            seed=int(identify("sampler", spec.seed, len(study.get_trials()))[:8], 16),  # other points than before
        )
        space: Mapping[str, Any] = {"k": tune.quniform(spec.low, spec.high, spec.step), "group": list(group)}
        fit(SearchTrial, space, left, search_alg=searcher, num_samples=left)
        studies.give_up_unfinished(study)
