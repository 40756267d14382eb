"""From a configuration to the cells of its grid: what is run, in which order, and what was dropped and why."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from modelfolder.errors import InputError
from rect.editors import EDITORS
from sweeps.config.config import Config, MethodSpec, ModelSpec, RegularizerSpec
from sweeps.results.tradeoff import IDS, UNEDITED

KEEP_LARGEST = ("rect", "magnitude")  # regularizers that take elements that are 0 last


@dataclass(frozen=True)
class Cell:
    """One sequence of edit operations under one regularizer, scored at its checkpoints.

    Attributes:
        method: None for the unedited model, which has no operation and the one checkpoint 0.
        batch_size: facts per operation; where facts belong to instances (MQuAKE), instances.
        k: percentage of elements kept; None where the regularizer takes none.
        checkpoints: numbers of operations after which the model is scored, ascending.
        id: given by `sweeps.plan.identity.make_plan`; does not depend on the checkpoints.
    """

    model: ModelSpec
    method: MethodSpec | None = None
    setting: str = UNEDITED
    batch_size: int = 0
    regularizer: str = "none"
    k: float | None = None
    seed: int = 0
    checkpoints: tuple[int, ...] = (0,)
    id: str = field(default="", compare=False)

    @property
    def edits_one(self) -> bool:
        """Whether an operation is one fact, also where it belongs to an instance of several."""
        one = self.method is not None and not EDITORS[self.method.name].batch
        return one or self.setting == "instance-sequential"

    def axes(self) -> dict[str, Any]:
        """The columns that say what a cell is, as every row and every trial carries them."""
        return {
            "model": self.model.shown,
            "method": self.method.shown if self.method else "none",
            "setting": self.setting,
            "batch_size": self.batch_size,
            "regularizer": self.regularizer,
            "k": math.nan if self.k is None else self.k,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        if self.method is None:
            return f"{self.model.shown} unedited"
        batch = f" b={self.batch_size}" if self.batch_size > 1 or self.setting.startswith("batch") else ""
        k = "" if self.k is None else f" {self.k:g}%"
        return f"{self.model.shown} {self.method.shown} {self.setting}{batch} {self.regularizer}{k} seed={self.seed}"


def expand(config: Config) -> tuple[list[Cell], list[tuple[str, str]]]:
    """All cells, by model; and what was dropped, with the reason.

    Each model begins with its unedited cell. Then come the cells that lead (the first regularizer of each group that
    shares its first operation), then those that follow: so several workers do not compute the same update at a time.

    Raises:
        InputError: a method or a model is left without any legal cell.
    """
    cells: list[Cell] = []
    dropped: list[tuple[str, str]] = []
    for regularizer in config.regularizers:
        if regularizer.name == "none" and regularizer.k:
            ks = ", ".join(f"{k:g}" for k in regularizer.k)
            dropped.append((f"regularizer none with k = {ks}", "none keeps everything: it is run once, without k"))
    edits: set[str] = set()  # methods that have a cell
    for model in dict.fromkeys(config.models):
        edited: dict[Cell, tuple[int, ...]] = {}
        leads: dict[Cell, bool] = {}
        for method in config.methods:
            for cell, lead in _of_method(config, model, method, dropped):
                edits.add(method.shown)
                key = replace(cell, checkpoints=())
                edited[key] = tuple(sorted({*edited.get(key, ()), *cell.checkpoints}))
                leads.setdefault(key, lead)
        if not edited and any(setting.models for setting in config.settings):
            raise InputError(f"settings: none is for the model {model.shown}")
        ordered = sorted(edited.items(), key=lambda one: not leads[one[0]])  # those that lead first
        cells += [Cell(model), *(replace(cell, checkpoints=points) for cell, points in ordered)]
    for method in config.methods:
        if method.shown not in edits:
            reason = next((why for what, why in dropped if what.startswith(f"{method.shown} ")), "none is for it")
            raise InputError(f"methods: '{method.shown}' has no legal cell in these settings: {reason}")
    return cells, list(dict.fromkeys(dropped))


def _of_method(
    config: Config, model: ModelSpec, method: MethodSpec, dropped: list[tuple[str, str]]
) -> Iterable[tuple[Cell, bool]]:
    """Legal cells of one method on one model, each with whether it leads its group."""
    for setting in config.settings:
        if not (
            setting.takes("models", model.shown, model.name) and setting.takes("methods", method.shown, method.name)
        ):
            continue
        every = _levels(config.regularizers)
        levels = [level for level in every if setting.takes("regularizers", level[0])]
        if len(levels) < len(every):
            others = _shown(level for level in every if level not in levels)
            asked = _shown(levels) or "none of the sweep's"
            dropped.append((f"{method.shown} {setting.kind} under {others}", f"this setting is for {asked}"))
        checkpoints = tuple(sorted({point for point in setting.checkpoints or (setting.edits,) if point > 0}))
        for batch_size in setting.batch_sizes:
            what = f"{method.shown} {setting.kind} b={batch_size}"
            if batch_size > 1 and not EDITORS[method.name].batch:
                dropped.append((what, f"{method.name} edits one fact per operation"))
                continue
            if not checkpoints:
                dropped.append((what, "its only checkpoint is 0, the unedited model, which is scored anyway"))
                continue
            for seed in dict.fromkeys(config.seeds):
                for index, (name, k) in enumerate(levels):
                    yield Cell(model, method, setting.kind, batch_size, name, k, seed, checkpoints), index == 0


def _levels(regularizers: Iterable[RegularizerSpec]) -> list[tuple[str, float | None]]:
    """(regularizer, k), each once."""
    levels = [(one.shown, k) for one in regularizers for k in (one.k if one.name != "none" else (None,))]
    return list(dict.fromkeys(levels))


def _shown(levels: Iterable[tuple[str, float | None]]) -> str:
    """ "none, rect 20, 40%"."""
    ks: dict[str, list[str]] = {}
    for name, k in levels:
        ks.setdefault(name, []).extend([] if k is None else [f"{k:g}"])
    return ", ".join(f"{name} {', '.join(values)}%" if values else name for name, values in ks.items())


def notes(config: Config, cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """What one should know of cells before running them: (which, what)."""
    found = []
    largest = [level for level in _levels(config.regularizers) if level[0] in KEEP_LARGEST]
    there = {cell.method.shown for cell in cells if cell.method and cell.regularizer in KEEP_LARGEST}
    for method in config.methods:
        if EDITORS[method.name].sparse and largest:
            absent = "" if method.shown in there else "not in this grid; it "
            found.append((
                f"{method.shown} under {_shown(largest)}",
                f"{absent}keeps everything, as none does, wherever fewer than k% of a matrix' elements are not zero: "
                f"the updates of {method.name} are sparse (share_nonzero_kept in the rows says what was kept)",
            ))  # fmt: skip
    return found


def counts(cells: Iterable[Cell]) -> dict[str, dict[str, int]]:
    """How many cells have each value of each axis: {"regularizer": {"none": 2, "rect": 3}, ...}."""
    table: dict[str, dict[str, int]] = {axis: {} for axis in IDS}
    for cell in cells:
        for axis, value in cell.axes().items():
            shown = f"{value:g}" if axis == "k" else str(value)
            shown = "-" if shown == "nan" else shown
            table[axis][shown] = table[axis].get(shown, 0) + 1
    return table
