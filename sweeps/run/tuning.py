"""A tuning from its study's start, or from where it was left, to its end.

In its folder: `study.db`, Optuna's study; `edits.jsonl`, each operation as it was measured, by which a setting that was
under way goes on where it stopped, and none is measured twice.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from rect import editors
from rect.facts import Fact
from sweeps.plan import tuning
from sweeps.plan.chain import identify
from sweeps.plan.tuning import Choices, Operation, Setting
from sweeps.run import studies
from sweeps.run.bench import Pool, Task

log = logging.getLogger(__name__)

VERSION = "1"  # of what an operation gives: up whenever its numbers change
REPEATS = 50  # settings that were tried before, in a row, after which the sampler is taken to know no others

DIRECTIONS: tuple[studies.Direction, ...] = ("maximize", "minimize")  # success, drift
GIVEN_UP = "cannot be picked any more"

Say = Callable[[Setting, str], None]


@dataclass(frozen=True)
class Asked:
    """What is tuned.

    Attributes:
        content: what the model is made of (`EditableModel.content`).
        dtype: of the model.
        method: `tuning.SPACES`.
        now: all hyperparameters as they would be without a tuning.
        choices: by key the values to choose from.
        facts: that the settings are measured on.
        seed: of the sampler.
    """

    content: str
    dtype: str
    method: str
    now: Mapping[str, Any]
    choices: Choices
    facts: tuple[Fact, ...]
    seed: int = 0

    @property
    def study(self) -> str:
        """The name of its study: of all but the seed."""
        facts = [fact.model_dump(mode="json") for fact in self.facts]
        about = self.content, self.dtype, self.method, editors.get(self.method).version, dict(self.now)
        return identify("tuning", VERSION, *about, self.choices, facts)[:16]


def operations(method: str, facts: Sequence[Fact]) -> list[tuple[Fact, ...]]:
    """Facts as the method is measured on them: so many together."""
    size = tuning.SPACES[method].batch
    return [tuple(facts[start : start + size]) for start in range(0, len(facts), size)]


class Kept:
    """The operations that were measured, in a file of a line each; a line that a kill cut is left out.

    Args:
        file: where.
        asked: of which model and method they are.
    """

    def __init__(self, file: Path, asked: Asked) -> None:
        self._file = file
        self._of = asked.content, asked.dtype, asked.method, editors.get(asked.method).version
        self._known: dict[str, Operation] = {}
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            self._known[record["id"]] = _operation(record["operation"])

    def _id(self, task: Task) -> str:
        facts = [fact.model_dump(mode="json") for fact in task.facts]
        return identify("measured", VERSION, *self._of, dict(task.values), facts)

    def get(self, task: Task) -> Operation | None:
        return self._known.get(self._id(task))

    def add(self, task: Task, operation: Operation) -> None:
        """Keep one; it is on the disk when this returns."""
        name = self._id(task)
        self._known[name] = operation
        facts = [fact.id or fact.filled for fact in task.facts]
        record = {"id": name, "values": dict(task.values), "facts": facts, "operation": _record(operation)}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write("\n" * self._torn + json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._torn = False


def _record(operation: Operation) -> dict[str, Any]:
    """As JSON, which has no NaN."""
    found = asdict(operation)
    found["generalization"] = [None if math.isnan(value) else value for value in operation.generalization]
    found["drift"] = operation.drift if math.isfinite(operation.drift) else None
    return found


def _operation(record: Mapping[str, Any]) -> Operation:
    known = [math.nan if value is None else value for value in record["generalization"]]
    drift = math.nan if record["drift"] is None else record["drift"]
    lists = {"reliability": tuple(record["reliability"]), "generalization": tuple(known), "drift": drift}
    return Operation(**{**record, **lists})


@dataclass
class _Trial:
    """A setting under way."""

    trial: optuna.Trial
    values: dict[str, Any]


class Search:
    """A search for the best setting.

    Args:
        asked: what is tuned.
        folder: for its files.
        trials: settings to try, in all sessions together.
        say: told of each setting that ends, and how: "", GIVEN_UP or why it failed.
    """

    def __init__(self, asked: Asked, folder: Path, trials: int, say: Say) -> None:
        self._asked, self._trials, self._say = asked, trials, say
        self._kept = Kept(folder / "edits.jsonl", asked)
        self._operations = operations(asked.method, asked.facts)
        self._sizes = tuple(len(facts) for facts in self._operations)
        url = studies.beside(folder.absolute() / "study.db")
        self._study = studies.opened(url, asked.study, DIRECTIONS)
        seed = int(identify("sampler", asked.seed, len(self._study.trials))[:8], 16)  # other points than before
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)
        self._space: dict[str, BaseDistribution] = {
            key: CategoricalDistribution([json.dumps(value) for value in values])
            for key, values in asked.choices.items()
        }
        self._settings: dict[str, Setting] = {}
        self._begin()

    def run(self, pool: Pool, seconds: float = math.inf) -> list[Setting]:
        """Try settings until there are enough, no others are known, or time is up; what is under way is ended.

        Returns:
            All that were tried, in order.
        """
        deadline = time.monotonic() + seconds
        active: dict[int, tuple[_Trial, Task]] = {}
        while True:
            for worker in set(range(pool.workers)) - active.keys():
                while worker not in active and time.monotonic() < deadline and (trial := self._next(active)):
                    if task := self._task(trial):
                        active[worker] = trial, task
                        pool.start(worker, task)
            if not active:
                return list(self._settings.values())
            worker, operation = pool.next()
            trial, task = active.pop(worker)
            self._kept.add(task, operation)
            if following := self._task(trial):
                active[worker] = trial, following
                pool.start(worker, following)

    def _begin(self) -> None:
        """What is there is taken up; a new study begins with the values of now, then the foremost layers."""
        for left in studies.give_up_unfinished(self._study):
            self._study.enqueue_trial(left.params)
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.FAIL]):
            values = {key: json.loads(value) for key, value in trial.params.items()}
            if values.keys() == self._space.keys() and (setting := self._measured(values)).operations:
                self._settings.setdefault(_name(values), setting)
        if not self._study.trials:
            now = {key: json.loads(json.dumps(self._asked.now[key])) for key in self._space}
            firsts = [now, *({**now, "layers": one} for one in self._asked.choices.get("layers", []))]
            for values in firsts:
                self._study.enqueue_trial(
                    {key: json.dumps(value) for key, value in values.items()}, skip_if_exists=True
                )

    def _measured(self, values: Mapping[str, Any]) -> Setting:
        """A setting as far as it is in the file."""
        done: list[Operation] = []
        for facts in self._operations:
            found = self._kept.get(self._as_task(values, facts))
            if found is None:
                break
            done.append(found)
        return Setting(dict(values), tuple(done), self._sizes)

    def _next(self, active: Mapping[int, tuple[_Trial, Task]]) -> _Trial | None:
        """A setting that was not tried yet; None where there are enough or no others."""
        underway = {_name(one.values) for one, _ in active.values()}
        ended = {name for name, one in self._settings.items() if self._ended(one)}
        for _ in range(REPEATS):
            if len(ended | underway) >= self._trials:
                return None
            trial = self._study.ask(self._space)
            values = {key: json.loads(value) for key, value in trial.params.items()}
            if _name(values) in ended:
                self._tell(trial, self._settings[_name(values)])
            elif _name(values) in underway:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                return _Trial(trial, values)
        log.info("no setting that was not tried yet in %d draws", REPEATS)
        return None

    def _task(self, trial: _Trial) -> Task | None:
        """The next operation to be measured of a setting; None where it is at its end, which is told."""
        setting = self._measured(trial.values)
        self._settings[_name(trial.values)] = setting
        if self._ended(setting):
            self._tell(trial.trial, setting)
            self._say(setting, setting.failed or ("" if setting.whole else GIVEN_UP))
            return None
        return self._as_task(trial.values, self._operations[len(setting.operations)])

    def _as_task(self, values: Mapping[str, Any], facts: tuple[Fact, ...]) -> Task:
        return Task(self._asked.method, {**self._asked.now, **values}, facts)

    def _ended(self, setting: Setting) -> bool:
        if setting.whole or setting.failed or not setting.operations:
            return bool(setting.operations)
        return tuning.hopeless(setting, self._settings.values())

    def _tell(self, trial: optuna.Trial, setting: Setting) -> None:
        """Of a setting that was given up the sampler learns what was measured so far."""
        if setting.failed:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, [setting.success, setting.drift])


def _name(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def confirm(
    asked: Asked, folder: Path, settings: Sequence[Mapping[str, Any]], facts: Sequence[Fact], pool: Pool
) -> list[Setting]:
    """Settings measured to the end on facts that the search did not see; what is in the file is not measured again.

    Args:
        settings: hyperparameters, all of them.
    """
    kept, groups = Kept(folder / "edits.jsonl", asked), operations(asked.method, facts)
    tasks = [Task(asked.method, values, group) for values in settings for group in groups]
    wanted = [task for i, task in enumerate(tasks) if kept.get(task) is None and task not in tasks[:i]]
    idle = list(range(pool.workers))
    running: dict[int, Task] = {}
    while wanted or running:
        while wanted and idle:
            worker = idle.pop()
            running[worker] = wanted.pop(0)
            pool.start(worker, running[worker])
        worker, operation = pool.next()
        kept.add(running.pop(worker), operation)
        idle.append(worker)
    found = [one for task in tasks if (one := kept.get(task)) is not None]
    sizes, count = tuple(map(len, groups)), len(groups)
    return [
        Setting(dict(values), tuple(found[i * count : (i + 1) * count]), sizes) for i, values in enumerate(settings)
    ]
