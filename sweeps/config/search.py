"""The keys `search:` and `stop:` of a configuration: which k to look for, and when a sequence has gone far enough."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from modelfolder.errors import InputError
from rect.regularizers import REGULARIZERS
from sweeps.config.strict import Count, Percent, Strict, known_name

ABILITIES = ("drift", "perplexity")
EDITING = ("reliability", "generalization", "locality")


class OptunaSpec(Strict):
    """A search by Optuna: k between two bounds in steps, for much editing and much ability at once.

    `ability`: tasks (mean retention over the tasks) or perplexity (the unedited model's over the edited one's).
    `storage`: Optuna's database; default a SQLite file in the output folder.
    """

    trials: Count = 20
    low: Percent = 1.0
    high: Percent = 100.0
    step: Annotated[float, Field(gt=0)] = 0.5
    ability: Literal["tasks", "perplexity"] = "tasks"
    seed: int = 0
    storage: str | None = None

    @model_validator(mode="after")
    def _grid(self) -> OptunaSpec:
        steps = (self.high - self.low) / self.step
        if self.high < self.low or abs(steps - round(steps)) > 1e-9:
            raise InputError(f"from {self.low} to {self.high} is no whole number of steps of {self.step}")
        return self

    @property
    def ks(self) -> tuple[float, ...]:
        """Every k that may be asked for."""
        steps = round((self.high - self.low) / self.step)
        return tuple(round(self.low + index * self.step, 9) for index in range(steps + 1))


class SearchSpec(Strict):
    """What is looked for besides the grid, for each of the regularizers.

    `keep-at-least`: the smallest of the `k` that keeps this share of the editing, for settings with one operation.
    `optuna`: the front of editing against ability, for sequences.
    """

    keep_at_least: Annotated[float, Field(gt=0, le=1)] | None = None
    k: tuple[Percent, ...] = Field(default=tuple(float(k) for k in range(1, 101)), min_length=1)
    optuna: OptunaSpec | None = None
    regularizers: tuple[str, ...] = Field(default=("rect",), min_length=1)

    @classmethod
    def _also(cls) -> tuple[str, ...]:
        return ("keep-at-least",)

    @model_validator(mode="before")
    @classmethod
    def _dashes(cls, data: Any) -> Any:
        if isinstance(data, dict) and "keep-at-least" in data:
            data = {"keep_at_least" if key == "keep-at-least" else key: value for key, value in data.items()}
        return data

    @field_validator("regularizers")
    @classmethod
    def _registered(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            known_name("regularizer", name, REGULARIZERS)
            if name == "none":
                raise InputError("none takes no k: there is nothing to search")
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _one(self) -> SearchSpec:
        if (self.keep_at_least is None) == (self.optuna is None):
            raise InputError("one of keep-at-least (such as 0.94) and optuna is wanted")
        return self

    @property
    def ks(self) -> tuple[float, ...]:
        """Every k that is or may be looked at."""
        return self.k if self.optuna is None else self.optuna.ks

    def check(self, operations: Sequence[int], asks_tasks: bool) -> None:
        """Whether the search fits the settings (their numbers of operations) and the tasks."""
        if self.keep_at_least is not None and max(operations) > 1:
            text = "search.keep-at-least is for one operation (batch-single, or edits: 1), where all k share the update"
            raise InputError(text + "; for sequences use search.optuna")
        if self.optuna is not None and self.optuna.ability == "tasks" and not asks_tasks:
            raise InputError("search.optuna needs tasks.names, or ability: perplexity")


class StopSpec(Strict):
    """End a sequence early: a figure stood at or beyond a bound for so many checkpoints in a row.

    `figure`: drift, perplexity, <task>/<score>, or an edit metric such as reliability/preference.
    """

    figure: str
    at_most: float | None = None
    at_least: float | None = None
    checkpoints: Count = 1

    @model_validator(mode="after")
    def _one_bound(self) -> StopSpec:
        if (self.at_most is None) == (self.at_least is None):
            raise InputError("one of at_most and at_least is wanted")
        return self

    def check(self, tasks: Collection[str]) -> None:
        """Whether the figure is one that is measured."""
        first, _, rest = self.figure.partition("/")
        if self.figure not in ABILITIES and not (rest and first in (*tasks, *EDITING)):
            known = "drift, perplexity, <task>/score and reliability/preference are examples"
            raise InputError(f"stop: nothing called '{self.figure}' is measured; {known}")

    def reached(self, value: float) -> bool:
        """Whether a value is at or beyond the bound. NaN is not."""
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)

    def __str__(self) -> str:
        bound = f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"
        times = f" at {self.checkpoints} checkpoints in a row" if self.checkpoints > 1 else ""
        return f"{self.figure} {bound}{times}"
