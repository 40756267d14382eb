"""Sweeps of editing methods against regularizers: grid, trials, store, aggregation, report, command line.

config = sweeps.load("configs/demo.yaml")
plan = sweeps.make_plan(config)           # the cells and their ids; loads no model
outcome = sweeps.run.run(config, "results/demo")
rows = sweeps.Store("results/demo").rows()
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Config": "sweeps.config.config",
    "load": "sweeps.config.config",
    "Cell": "sweeps.plan.grid",
    "expand": "sweeps.plan.grid",
    "Plan": "sweeps.plan.identity",
    "make_plan": "sweeps.plan.identity",
    "Store": "sweeps.store.store",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    if name == "run":
        return import_module("sweeps.run")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
