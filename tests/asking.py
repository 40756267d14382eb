"""All tasks put to an engine at once, for tests that want their rows."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.plan.identity import Exam
from sweeps.run.scoring import answers
from sweeps.store.schema import Row
from tasks.engines.base import Engine


def ask(engine: Engine, questions: Sequence[Exam], keep_texts: bool = True) -> tuple[list[Row], list[Row]]:
    """(rows, outputs) of all tasks. Raises what the first of them failed with."""
    rows: list[Row] = []
    outputs: list[Row] = []
    for some in answers(engine, questions, keep_texts):
        for answered in some:
            if answered.failed is not None:
                raise answered.failed
            rows += answered.rows
            outputs += answered.outputs
    return rows, outputs


def logprobs(engine: Engine, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Log-probability of each continuation after its prompt."""
    return [one.logprob for one in engine.likelihoods(pairs)]
