"""What all trials of an experiment share. Small, and nothing heavy is imported to unpack it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.plan.identity import Plan

Missing = Mapping[int, set[str]]  # {checkpoint: evaluations}


@dataclass(frozen=True)
class Job:
    """It goes to each worker once.

    Attributes:
        plan: the sweep.
        url: its output folder.
        token: a file in it that the driver wrote; where it is not seen, the folder is not shared with that node.
        missing: per cell what was missing when the run began; a cell that is not in it gets all that is missing.
        environment: id of the run's, which its rows carry.
        register: of the operations that are being computed, see `sweeps.run.claims`.
    """

    plan: Plan
    url: str
    token: str
    missing: Mapping[str, Missing]
    environment: str
    register: Any
