"""Optuna looks for k in a sequence; it is killed, and goes on with what it knows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from rich.console import Console

import tasks
from modelfolder.errors import InputError
from sweeps.config.config import Config, TasksSpec
from sweeps.plan import search
from sweeps.plan.identity import Plan, make_plan
from sweeps.report import gather
from sweeps.run import search_trial, studies
from sweeps.run.job import Job
from sweeps.run.workplace import Workplace
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.integration.test_resume import Driver
from tests.sweeps.small import computed, quiet, run_here, small_config
from tests.tiny import save_tiny

TRIALS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"), initializer_range=0.05)


def searching(folder: Path, **optuna: Any) -> Config:
    return small_config(
        folder,
        settings=[{"kind": "instance-sequential", "edits": 2}],
        regularizers=["none"],
        tasks={},
        search={"optuna": {"trials": TRIALS, "low": 1, "high": 20, "ability": "perplexity", **optuna}},
        resources={"cpus": 1, "concurrency": 1},
    )


def test_every_k_is_a_cell_that_may_be_picked(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(searching(folder))
    [levels] = search_trial.groups(plan).values()
    assert list(levels) == [1 + 0.5 * i for i in range(39)]
    assert len(plan.cells) == 2  # unedited and unregularized; the others only when they are picked
    store = Store(tmp_path)
    [picked] = search_trial.cells_of(plan, {"k": 7.500000001, "group": list(next(iter(search_trial.groups(plan))))})
    search.pick(plan, store, [picked])
    decided = search.decided(plan, store)
    assert [cell.k for cell in decided.cells if cell not in plan.cells] == [7.5]
    more = search.decided(make_plan(searching(folder, trials=50)), store)
    assert len(more.cells) == 3  # more trials of the same search
    assert len(search.decided(make_plan(searching(folder, low=2)), store).cells) == 2  # another search


def test_a_study_belongs_to_what_its_trials_measure(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(plan: Plan) -> str:
        [group] = search_trial.groups(plan)
        return search_trial.study_of(plan, Store(tmp_path), group).study_name

    config, key = searching(folder), str(folder)
    first = make_plan(config, {key: "sha256:1"})
    assert name(first) == name(make_plan(searching(folder, trials=50), {key: "sha256:1"}))
    assert name(first) != name(make_plan(config, {key: "sha256:2"}))  # other weights under the same name
    fewer = config.model_copy(update={"edits": config.edits.model_copy(update={"count": 7})})
    assert name(first) != name(make_plan(fewer, {key: "sha256:1"}))

    asking = config.model_copy(update={"tasks": TasksSpec(names=("nli",), examples=2)})
    earlier = name(make_plan(asking, {key: "sha256:1"}))
    assert earlier == name(make_plan(asking, {key: "sha256:1"})) != name(first)
    monkeypatch.setattr(type(tasks.get("nli")), "version", "another")
    assert earlier != name(make_plan(asking, {key: "sha256:1"}))


def test_a_study_is_kept_and_needs_a_place(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(searching(folder))
    [group] = search_trial.groups(plan)
    search_trial.study_of(plan, Store(tmp_path), group).ask()
    study = search_trial.study_of(plan, Store(tmp_path), group)
    assert len(study.get_trials()) == 1
    studies.give_up_unfinished(study)
    assert [trial.state for trial in study.get_trials()] == [TrialState.FAIL]
    with pytest.raises(InputError, match=r"search\.optuna\.storage"):
        search_trial.study_of(plan, Store("memory://sweep"), group)


def values_of(plan: Plan, store: Store) -> list[tuple[int, float, tuple[float, ...]]]:
    """Finished trials: number, k, objectives."""
    [group] = search_trial.groups(plan)
    trials = search_trial.study_of(plan, store, group).get_trials(states=[TrialState.COMPLETE])
    return [(trial.number, trial.params["k"], tuple(trial.values)) for trial in trials]


class Here:
    """Runs a search's trials in this process, in the place of Tune; gives up in the middle of a trial if told to."""

    def __init__(self, plan: Plan, store: Store, give_up_in: int | None = None) -> None:
        self.plan, self.store, self.give_up_in = plan, store, give_up_in
        self.trials = 0

    def __call__(self, kind: Any, space: Any, trials: int, search_alg: Any, num_samples: int) -> Any:
        assert trials == num_samples
        search_alg.set_search_properties(None, None, dict(space))
        trial = kind.__new__(kind)
        trial.job, trial.store = Job(self.plan, self.store.url, "", {}, "", None), self.store
        trial.journal = Journal(self.store.folder)
        with Workplace(self.plan, self.store, trial.journal) as trial.place:
            for number in range(trials):
                config = {**space, **search_alg.suggest(f"{number}")}
                trial._begin(config)
                self.trials += 1
                if self.trials == self.give_up_in:
                    raise KeyboardInterrupt
                result: dict[str, Any] = {"done": False}
                while not result["done"]:
                    result = trial.step()
                search_alg.on_trial_complete(f"{number}", result)


def test_an_interrupted_search_goes_on_with_what_it_knows(folder: Path, tmp_path: Path) -> None:
    config = searching(folder)
    store, plan = Store(tmp_path), make_plan(config)
    store.folder.write("config.yaml", config.as_yaml().encode())
    run_here(plan, store)
    with pytest.raises(KeyboardInterrupt):
        search_trial.optimize(plan, store, Here(plan, store, give_up_in=2))
    before = values_of(plan, store)
    assert len(before) == 1

    rest = Here(plan, store)
    search_trial.optimize(search.decided(plan, store), store, rest)
    assert rest.trials == TRIALS - 1
    after = values_of(plan, store)
    assert after[:1] == before
    assert len(after) == TRIALS
    assert len({k for _, k, _ in after}) > 1
    search_trial.optimize(plan, store, Here(plan, store, give_up_in=1))  # nothing is left to do
    check_report(plan, store)


def check_report(plan: Plan, store: Store) -> None:
    """The report shows what was tried, and Optuna's front."""
    gather.report(store.url, Console(file=io.StringIO()))
    [found] = gather.gather(store.url).search
    tried = {k: values for _, k, values in values_of(plan, store)}
    points = found.points.set_index("k")
    assert set(points.index) >= set(tried)
    for k, values in tried.items():
        assert tuple(points.loc[k, list(search_trial.OBJECTIVES)]) == pytest.approx(values)
    [group] = search_trial.groups(plan)
    best = {trial.params["k"] for trial in search_trial.study_of(plan, store, group).best_trials}
    assert best
    assert best <= set(points.index[points["pareto"]])
    assert "on the front of editing against ability" in found.finding
    assert found.finding in (Path(store.url) / "report.html").read_text()


@pytest.mark.slow
def test_a_killed_search_goes_on(folder: Path, tmp_path: Path) -> None:
    config = searching(folder)
    path = tmp_path / "search.yaml"
    path.write_text(config.as_yaml())
    out = tmp_path / "out"
    plan, store = make_plan(config), quiet(config, out)  # the search alone is left to do
    first = Driver(path, out)
    picked: set[str] = set()

    def second_began(event: dict[str, Any]) -> bool:
        if event["event"] == "cell-started" and event["cell"] not in {cell.id for cell in plan.cells}:
            picked.add(event["cell"])
        return len(picked) >= 2

    first.wait_for(second_began)
    first.kill()
    before = values_of(plan, store)
    assert 1 <= len(before) < TRIALS

    Driver(path, out).finish()
    after = values_of(plan, store)
    assert after[: len(before)] == before
    assert len(after) == TRIALS
    assert len(computed(store)) == len(set(computed(store)))
    check_report(plan, store)
