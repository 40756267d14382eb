"""Sweeps of editing methods against regularizers: grid, trials, store, aggregation, report, command line.

config = sweeps.load("configs/demo.yaml")
plan = sweeps.make_plan(config)           # the cells and their ids; loads no model
outcome = sweeps.run(config, "results/demo")
rows = sweeps.Store("results/demo").rows()
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Config": "sweeps.config",
    "load": "sweeps.config",
    "Cell": "sweeps.grid",
    "expand": "sweeps.grid",
    "Plan": "sweeps.identity",
    "make_plan": "sweeps.identity",
    "Store": "sweeps.store",
}
# `sweeps.run` is the module; the function is `sweeps.run.run` and goes by its module, as `sweeps.report.report` does.
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
