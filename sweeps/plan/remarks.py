"""What one should know of a sweep before its numbers are read: said once by plan, in the log and on the page."""

from __future__ import annotations

from collections.abc import Iterable

from sweeps.plan import edit_set, grid, identity, skipped
from sweeps.plan.identity import Plan
from sweeps.plan.memory import BYTES


def of(plan: Plan) -> list[str]:
    """One line each: grid, hyperparameters, dtypes, covariances, facts."""
    lines = [f"{what}: {why}" for what, why in grid.notes(plan.config, plan.cells)]
    lines += [*_untested(plan), *_dtypes(plan), *identity.covariance_notes(plan)]
    lines += [*(f"facts: {line}" for line in plan.unusable), *skipped.notes(plan)]
    lines += [*edit_set.notes(plan.facts, plan.cells, plan.skipped)]
    return list(dict.fromkeys(lines))


def _untested(plan: Plan) -> Iterable[str]:
    """Methods whose hyperparameters nobody has tried on a model."""
    from rect import editors

    used = {(cell.model, cell.method): cell.method for cell in plan.cells if cell.method is not None}
    for (model, _), method in used.items():
        if line := editors.remark(method.name, model.name, method.hparams):
            yield line


def _dtypes(plan: Plan) -> Iterable[str]:
    """Models that are edited in another dtype than the engine computes in."""
    engine = plan.config.engine.dtype
    for model in plan.config.models:
        if model.dtype == engine:
            continue
        rounded = BYTES[engine] < BYTES[model.dtype]
        weights = f"on weights rounded to {engine}" if rounded else f"in {model.dtype}"
        yield (
            f"{model.shown} is edited in {model.dtype}, and answers tasks in {engine} (engine.dtype): edit metrics and "
            f"perplexity are taken {weights}"
        )
