"""Tasks put to an engine: prompts in, rows and outputs out. Whichever weights the engine holds are scored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sweeps.identity import Questions
from sweeps.rows import Row, measurement
from tasks.harness import HarnessTask

if TYPE_CHECKING:
    from tasks.base import Example, Task
    from tasks.engines.base import Engine
    from tasks.scores import Score

Fitted = list[tuple[str, bool]]  # (prompt as the engine gets it, whether its passage was cut) per example


def ask(engine: Engine, questions: Sequence[Questions], keep_texts: bool = True) -> tuple[list[Row], list[Row]]:
    """Scores of the tasks: one call of the engine for all that is generated, one for all log-probabilities.

    Args:
        keep_texts: whether prompts, outputs and gold answers go into the outputs; their scores do in any case.

    Returns:
        (rows, outputs): outputs has one row per example.
    """
    rows, outputs = [], []
    for some in (
        _generated(engine, [one for one in questions if one.task.mode == "generate"]),
        _weighed(engine, [one for one in questions if one.task.mode == "likelihood"]),
        _of_the_harness(engine, [one for one in questions if one.task.mode == "harness"]),
    ):
        for of_task, said in some:
            rows += of_task
            outputs += said if keep_texts else [{**row, "prompt": None, "output": None, "gold": None} for row in said]
    return rows, outputs


def _generated(engine: Engine, questions: Sequence[Questions]) -> Iterator[tuple[list[Row], list[Row]]]:
    """Rows and outputs of each task that is scored by what the model says."""
    fitted = [_fitted(one, engine) for one in questions]
    prompts = [prompt for asked in fitted for prompt, _ in asked]
    budgets = [one.task.max_new_tokens for one in questions for _ in one.examples]
    said = iter(engine.generate(prompts, budgets))
    for one, asked in zip(questions, fitted, strict=True):
        texts = [next(said) for _ in one.examples]
        scores = [one.task.judge(text, example).score for text, example in zip(texts, one.examples, strict=True)]
        yield _rows(one, one.task.score(texts, one.examples), asked), _outputs(one, asked, texts, scores)


def _weighed(engine: Engine, questions: Sequence[Questions]) -> Iterator[tuple[list[Row], list[Row]]]:
    """Rows and outputs of each task that is scored by the log-probabilities of its choices.

    The output of an example is a JSON list of [choice, log-probability].
    """
    fitted = [_fitted(one, engine) for one in questions]
    choices = [
        [_choices(one.task, example, prompt) for example, (prompt, _) in zip(one.examples, asked, strict=True)]
        for one, asked in zip(questions, fitted, strict=True)
    ]
    pairs = [
        (prompt, choice)
        for asked, of_task in zip(fitted, choices, strict=True)
        for (prompt, _), of_example in zip(asked, of_task, strict=True)
        for choice in of_example
    ]
    found = iter(engine.loglikelihood(pairs))
    for one, asked, of_task in zip(questions, fitted, choices, strict=True):
        logprobs = [[next(found) for _ in of_example] for of_example in of_task]
        texts = [_listed(of_example, values) for of_example, values in zip(of_task, logprobs, strict=True)]
        scores = [one.task.judge_choice(values, e).score for values, e in zip(logprobs, one.examples, strict=True)]
        yield _rows(one, one.task.score_choices(logprobs, one.examples), asked), _outputs(one, asked, texts, scores)


def _of_the_harness(engine: Engine, questions: Sequence[Questions]) -> Iterator[tuple[list[Row], list[Row]]]:
    """Rows and outputs of each task that the lm-evaluation-harness asks and scores."""
    for one in questions:
        assert isinstance(one.task, HarnessTask)
        scores, said = one.task.run(engine, one.examples)
        asked = [(s.prompt, s.cut) for s in said]
        yield _rows(one, scores, asked), _outputs(one, asked, [s.output for s in said], [s.score for s in said])


def _fitted(one: Questions, engine: Engine) -> Fitted:
    """The prompts of a task, in the tokenizer's chat template where asked for, cut where they do not fit."""
    task = one.task

    def whole(prompt: str) -> str:
        return engine.chat(prompt) if task.chat else prompt

    def fit(example: Example) -> tuple[str, bool]:
        if task.mode == "likelihood":
            tails, room = task.choices(example), engine.max_model_len + 1  # a choice's last token is not read
        else:
            tails, room = [""], engine.max_model_len - task.max_new_tokens
        prompt, cut = task.fit(
            example, lambda text: max(engine.count_tokens([whole(text) + tail for tail in tails])), room
        )
        return whole(prompt), cut

    return [fit(example) for example in one.examples]


def _choices(task: Task, example: Example, prompt: str) -> list[str]:
    """The continuations; where a chat template ends in white space the answer begins without a space."""
    bare = task.chat and prompt[-1:].isspace()
    return [choice.lstrip(" ") if bare else choice for choice in task.choices(example)]


def _listed(choices: Sequence[str], logprobs: Sequence[float]) -> str:
    pairs = [[c, None if math.isnan(v) else round(v, 6)] for c, v in zip(choices, logprobs, strict=True)]
    return json.dumps(pairs, ensure_ascii=False)


def _score_rows(one: Questions, scores: Mapping[str, Score]) -> list[Row]:
    return [
        measurement("task", f"{one.name}/{metric}", score.value, score.stderr, score.n, one.evaluation)
        for metric, score in scores.items()
    ]


def _rows(one: Questions, scores: Mapping[str, Score], asked: Fitted) -> list[Row]:
    cut = sum(was_cut for _, was_cut in asked)
    about = {"truncated": cut, "chance": one.chance}
    more = [
        measurement("task", f"{one.name}/{k}", v, n=len(asked), evaluation=one.evaluation) for k, v in about.items()
    ]
    return [*_score_rows(one, scores), *more]


def _outputs(one: Questions, asked: Fitted, texts: Sequence[str], scores: Sequence[float]) -> list[Row]:
    counts = [
        one.task.counts(text, example) if one.task.mode == "generate" else None
        for text, example in zip(texts, one.examples, strict=True)
    ]
    return [
        {
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
        for index, (example, (prompt, _), text, score, parts) in enumerate(
            zip(one.examples, asked, texts, scores, counts, strict=True)
        )
    ]
