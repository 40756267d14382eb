"""Tasks put to an engine: prompts in, rows and outputs out. Whichever weights the engine holds are scored.

A task that fails costs its own rows: the others are asked and scored as if it were not there. An example that cannot be
asked (`sweeps.run.prompting`) is skipped and counted in public data, and an error in the user's own.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelfolder.errors import InputError
from sweeps.plan.identity import Exam
from sweeps.run.prompting import Prompt, Prompts, prepared
from sweeps.store.schema import Row, measurement
from tasks.engines.base import Engine
from tasks.errors import Unaskable
from tasks.harness import HarnessTask, Said
from tasks.scores import Score

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """What came of a task.

    Attributes:
        rows, outputs: outputs has one row per example that was asked. Both are empty where the task failed.
        skipped: {id of an example: why it could not be asked}.
        failed: why nothing came of it.
    """

    one: Exam
    rows: list[Row] = field(default_factory=list)
    outputs: list[Row] = field(default_factory=list)
    skipped: Mapping[str, str] = field(default_factory=dict)
    failed: Exception | None = None


def answers(engine: Engine, questions: Sequence[Exam], keep_texts: bool = True) -> Iterator[list[Answered]]:
    """What comes of the tasks: one call of the engine for all that is generated, one for all log-probabilities.

    Args:
        keep_texts: whether prompts, outputs and gold answers go into the outputs; their scores do in any case.

    Raises:
        Exception: the engine is of no use any more; what it raised.
    """
    modes = {mode: [one for one in questions if one.task.mode == mode] for mode in ("generate", "likelihood")}
    calls: list[Callable[[], list[Answered]]] = [
        lambda: _put(engine, modes["generate"], _generate),
        lambda: _put(engine, modes["likelihood"], _weigh),
        *(lambda one=one: [_of_the_harness(engine, one)] for one in questions if one.task.mode == "harness"),
    ]
    for call in calls:
        found = call()
        if not keep_texts:
            for answered in found:
                for row in answered.outputs:
                    row.update(prompt=None, output=None, gold=None)
        if found:
            yield found


# Asked and scored here

Given = list[Any]  # what the engine gave for each prompt: a text, or the log-probabilities of the choices
Call = Callable[[Engine, Sequence[Prompt]], Given]


def _put(engine: Engine, questions: Sequence[Exam], call: Call) -> list[Answered]:
    """Prepare the prompts of some tasks, have them answered, score the answers."""
    ready: list[Prompts] = []
    found: dict[str, Answered] = {}
    for one in questions:
        try:
            ready.append(prepared(one, engine))
        except Exception as error:
            found[one.evaluation] = _failed(one, error)
    for prompts, given in _given(engine, ready, call):
        one = prompts.one
        found[one.evaluation] = _failed(one, given) if isinstance(given, Exception) else _scored(prompts, given)
    return [found[one.evaluation] for one in questions]


def _given(engine: Engine, ready: Sequence[Prompts], call: Call) -> Iterator[tuple[Prompts, Given | Exception]]:
    """One call of the engine for all tasks; where it refuses, one for each: only those fail that it refuses then."""
    if not ready:
        return
    try:
        given = call(engine, [prompt for prompts in ready for prompt in prompts.asked])
    except Exception as error:
        check_sound(engine, error)
        if len(ready) == 1:
            yield ready[0], error
        else:
            for prompts in ready:
                yield from _given(engine, [prompts], call)
        return
    at = 0
    for prompts in ready:
        yield prompts, given[at : at + len(prompts.asked)]
        at += len(prompts.asked)


def check_sound(engine: Engine, error: Exception) -> None:
    """Raise what an engine raised unless it still answers."""
    try:
        engine.generate(["."], 1)
    except Exception:
        raise error from None


def _scored(prompts: Prompts, given: Given) -> Answered:
    """Rows and outputs of a task, by what the model says, or by the log-probabilities of its choices.

    The output of an example with choices is a JSON list of [choice, log-probability].
    """
    one, task = prompts.one, prompts.one.task
    examples = [one.examples[prompt.index] for prompt in prompts.asked]
    try:
        if task.mode == "generate":
            texts, judged, scores = given, map(task.judge, given, examples), task.score(given, examples)
        else:
            texts = [_listed(prompt.choices, values) for prompt, values in zip(prompts.asked, given, strict=True)]
            judged, scores = map(task.judge_choice, given, examples), task.score_choices(given, examples)
        outputs = [
            _output(one, prompt.index, prompt.text, text, judgement.score)
            for prompt, text, judgement in zip(prompts.asked, texts, judged, strict=True)
        ]
        rows = _rows(one, scores, {prompt.index: prompt.cut for prompt in prompts.asked})
    except Exception as error:
        return _failed(one, error)
    return Answered(one, rows, outputs, prompts.skipped)


def _failed(one: Exam, error: Exception) -> Answered:
    bad_input = isinstance(error, InputError)  # one line says it all
    log.warning("%s failed: %s: %s", one.name, type(error).__name__, error, exc_info=None if bad_input else error)
    return Answered(one, failed=error)


def _generate(engine: Engine, prompts: Sequence[Prompt]) -> Given:
    return engine.generate([prompt.text for prompt in prompts], [prompt.budget for prompt in prompts])


def _weigh(engine: Engine, prompts: Sequence[Prompt]) -> Given:
    found = iter(engine.token_likelihoods([row for prompt in prompts for row in prompt.rows]))
    return [[next(found).logprob for _ in prompt.rows] for prompt in prompts]


def _listed(choices: Sequence[str], logprobs: Sequence[float]) -> str:
    pairs = [[c, None if math.isnan(v) else round(v, 6)] for c, v in zip(choices, logprobs, strict=True)]
    return json.dumps(pairs, ensure_ascii=False)


# Asked and scored by the lm-evaluation-harness


def _of_the_harness(engine: Engine, one: Exam) -> Answered:
    try:
        scores, said, skipped = run_harness(engine, one)
        rows = _rows(one, scores, {index: s.cut for index, s in said.items()})
    except Exception as error:
        check_sound(engine, error)
        return _failed(one, error)
    outputs = [_output(one, index, s.prompt, s.output, s.score) for index, s in said.items()]
    return Answered(one, rows, outputs, skipped)


def run_harness(engine: Engine, one: Exam, **settings: Any) -> tuple[dict[str, Score], dict[int, Said], dict[str, str]]:
    """Have the harness ask and score a task, without the examples of a public one that cannot be asked.

    Args:
        settings: of `HarnessTask.run`.

    Returns:
        Scores, {index of an example: what was said to it}, {id of a skipped example: why}.
    """
    assert isinstance(one.task, HarnessTask)
    asked = dict(enumerate(one.examples))
    skipped: dict[str, str] = {}
    while True:
        try:
            scores, said = one.task.run(engine, list(asked.values()), **settings)
            return scores, dict(zip(asked, said, strict=True)), skipped
        except Unaskable as error:  # of one kind of requests; there may be others
            skipped |= error.examples
            asked = {index: example for index, example in asked.items() if example.id not in skipped}
            if one.task.own or not asked:
                raise


def _rows(one: Exam, scores: Mapping[str, Score], asked: Mapping[int, bool]) -> list[Row]:
    """Rows of a task.

    Args:
        asked: {index of an example that was asked: whether it was cut}.
    """
    n, skipped = len(asked), len(one.examples) - len(asked)
    chance = one.task.chance([one.examples[index] for index in asked]) if skipped else one.chance
    figures = [(metric, score.value, score.stderr, score.n) for metric, score in scores.items()]
    figures += [("truncated", float(sum(asked.values())), math.nan, n), ("chance", chance, math.nan, n)]
    figures += [("skipped", float(skipped), math.nan, len(one.examples))] if skipped else []
    return [
        measurement("task", f"{one.name}/{name}", value, stderr, n, one.evaluation)
        for name, value, stderr, n in figures
    ]


def _output(one: Exam, index: int, prompt: str, text: str, score: float) -> Row:
    example = one.examples[index]
    parts = one.task.counts(text, example) if one.task.mode == "generate" else None
    return {
        "task": one.name,
        "index": index,
        "prompt": prompt,
        "output": text,
        "gold": json.dumps(example.gold, ensure_ascii=False),
        "score": score,
        "evaluation": one.evaluation,
        "unit": one.task.unit(example),
        "numerator": math.nan if parts is None else parts[0],
        "denominator": math.nan if parts is None else parts[1],
    }
