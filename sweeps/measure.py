"""Measurements of a model as it stands at a checkpoint, as rows: editing, ability on text, weights, tasks."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rect import evaluation, perplexity
from rect import weights as weight_statistics
from rect.model import EditableModel
from sweeps.identity import THRESHOLDS, Questions
from sweeps.rows import Row, measurement
from sweeps.workplace import Workplace

if TYPE_CHECKING:
    from rect.facts import Fact
    from sweeps.config import ModelSpec
    from tasks.base import Example, Task

Shares = Sequence[Mapping[str, Mapping[str, float]]]


@contextlib.contextmanager
def in_dtype(model: EditableModel, dtype: str) -> Iterator[None]:
    """Within it, weights are rounded to the engine's dtype where that is lower, so that both sides score one model."""
    lower: torch.dtype = getattr(torch, dtype)
    parameters = [p.data for p in model.hf.parameters() if p.is_floating_point()]
    kept = [p.clone() for p in parameters if torch.promote_types(p.dtype, lower) == p.dtype != lower]
    if not kept:
        yield
        return
    try:
        for p in parameters:
            p.copy_(p.to(lower))
        yield
    finally:
        for p, before in zip(parameters, kept, strict=True):
            p.copy_(before)
