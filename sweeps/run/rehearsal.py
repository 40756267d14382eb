"""Before anything is computed: can what the tasks ask be put to the models? Tokenizers and configs are enough."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from modelfolder.errors import InputError
from rect import models
from rect.facts import Fact
from sweeps.config.config import EngineSpec, ModelSpec
from sweeps.plan.identity import Exam, Plan
from sweeps.plan.outline import metric_kind
from sweeps.run import prompting, scoring
from sweeps.store.store import Done
from tasks.engines.dry_engine import DryEngine

log = logging.getLogger(__name__)

NAMED = 5  # skipped examples of a task that a line names one by one


def of_plan(plan: Plan, done: Done) -> list[str]:
    """Rehearse what is missing of a plan, see `of_model`."""
    lines = []
    for model in plan.config.models:
        cells = [cell for cell in plan.cells if cell.model == model]
        missing = {one for cell in cells for ids in plan.missing(cell, done).values() for one in ids}
        questions = [one for one in plan.questions if one.evaluation in missing]
        if questions:
            lines += of_model(model, questions, plan.config.engine, plan.revision(model))
        spoken = [name for name in plan.spoken if plan.kinds[metric_kind(name)] in missing]
        if spoken:
            drawn = [fact for cell in cells for fact in plan.edited(cell, cell.checkpoints[-1])]
            _of_facts(spoken, drawn, model, dry_engine(model, plan.config.engine, plan.revision(model)))
    return lines


def _of_facts(names: Sequence[str], drawn: Sequence[Fact], model: ModelSpec, engine: DryEngine) -> None:
    """Raise InputError for what a metric of the model's own words cannot ask."""
    from sweeps.run import answering  # and torch with it, which a finished sweep does without

    for name in names:
        try:
            answering.asked(name, drawn, engine)
        except InputError as error:
            raise InputError(f"metric {name}: {error}; the model is {model.name}") from None


def dry_engine(model: ModelSpec, limits: EngineSpec, revision: str | None = None) -> DryEngine:
    """An engine that takes prompts and says nothing: it has the model's tokenizer and context."""
    return DryEngine(
        models.resolve(model.name, revision or model.revision),
        dtype=limits.dtype,
        max_model_len=limits.max_model_len,
        trust_remote_code=model.trust_remote_code,
    )


def of_model(model: ModelSpec, questions: Sequence[Exam], limits: EngineSpec, revision: str | None = None) -> list[str]:
    """One line for each task of which examples are skipped.

    Args:
        revision: commit of the model, where another one than it names may be meant by now.

    Raises:
        InputError: a task, or an example of the user's own, cannot be asked.
    """
    engine = dry_engine(model, limits, revision)
    lines = []
    for one in questions:
        try:
            skipped = _skipped(one, engine)
        except InputError as error:
            raise InputError(f"{error}; the model is {model.name}") from None
        except Exception as error:  # of the harness' metrics, which are given no answers: real ones may do
            log.debug("%s: %r", one.name, error)
            continue
        if skipped:
            named = "; ".join(f"example {example}: {why}" for example, why in list(skipped.items())[:NAMED])
            more = "; ..." if len(skipped) > NAMED else ""
            lines.append(f"{one.name}: {len(skipped)} of {len(one.examples)} skipped for {model.name}: {named}{more}")
    return lines


def _skipped(one: Exam, engine: DryEngine) -> dict[str, str]:
    if one.task.mode == "harness":
        return scoring.run_harness(engine, one, bootstrap=0)[2]
    return prompting.prepared(one, engine).skipped
