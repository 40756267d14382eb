"""A cell's way, from top to bottom: driver, experiment, trial, cell, workplace, measure, scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.run.driver import run

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from sweeps.run import driver

        return driver.run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
