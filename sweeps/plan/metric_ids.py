"""Ids of the metrics that a configuration asks for besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rect import metrics
from sweeps.config.config import Config
from sweeps.plan.chain import identify
from sweeps.plan.outline import metric_kind

if TYPE_CHECKING:
    from rect.facts import Fact


def of(config: Config, engine: str, edit_set: Sequence[Fact]) -> dict[str, str]:
    """Ids by kind. Where an engine answers, it is a part, and what the metric alone reads of facts."""
    limits = config.engine
    found = {}
    for name in config.metrics:
        metric = metrics.get(name)
        how: list[Any] = []
        if isinstance(metric, metrics.Spoken):
            how = [engine, limits.max_model_len, *([getattr(fact, key) for fact in edit_set] for key in metric.reads)]
            if metric.given is not None:
                how.append(metric.files(getattr(config.edits, metric.given), edit_set))
        found[metric_kind(name)] = identify("evaluation", "metric", name, metric.version, limits.dtype, *how)
    return found
