"""What a task's examples become for an engine, and which of them cannot be asked: before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from modelfolder.errors import InputError
from sweeps.plan.identity import Exam
from tasks.base import Task
from tasks.engines.base import Engine
from tasks.records import Example


@dataclass(frozen=True)
class Prompt:
    """An example as the engine gets it.

    Attributes:
        index: of the example.
        text: the prompt, in the tokenizer's chat template where asked for.
        cut: whether its passage was cut.
        budget: tokens to be generated.
        choices: continuations to be weighed.
        rows: per choice the tokens of prompt and choice.
    """

    index: int
    text: str
    cut: bool
    budget: int = 0
    choices: Sequence[str] = ()
    rows: Sequence[tuple[list[int], list[int]]] = ()


@dataclass(frozen=True)
class Prompts:
    """Those of a task.

    Attributes:
        skipped: {id of an example that cannot be asked: why}.
    """

    one: Exam
    asked: list[Prompt] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def prepared(one: Exam, engine: Engine) -> Prompts:
    """The prompts of a task that is asked and scored here.

    Raises:
        InputError: an example of the user's own cannot be asked, or none at all can, or the engine has no room for what
            is to be generated, or no chat template.
    """
    task, found = one.task, Prompts(one)
    if task.mode == "generate" and task.max_new_tokens >= engine.max_model_len:
        raise InputError(
            f"{one.name}: {task.max_new_tokens} tokens are to be generated, the context has {engine.max_model_len}"
        )
    for index, example in enumerate(one.examples):
        try:
            found.asked.append((_weighed if task.mode == "likelihood" else _generated)(task, index, example, engine))
        except InputError as error:
            found.skipped[example.id] = str(error)
    refusal(one, found.skipped)
    return found


def refusal(one: Exam, skipped: dict[str, str]) -> None:
    """Raise InputError unless the examples that cannot be asked may be skipped: some of a public data set."""
    if not skipped or not (one.task.own or len(skipped) == len(one.examples)):
        return
    first, why = next(iter(skipped.items()))
    more = f" (and {len(skipped) - 1} more of {len(one.examples)})" if len(skipped) > 1 else ""
    raise InputError(f"{one.name}, example {first}: {why}{more}")


def _generated(task: Task, index: int, example: Example, engine: Engine) -> Prompt:
    text, cut = _fitted(task, example, engine, [""], engine.max_model_len - task.max_new_tokens)
    return Prompt(index, text, cut, budget=task.max_new_tokens)


def _weighed(task: Task, index: int, example: Example, engine: Engine) -> Prompt:
    from tasks.engines.likelihood import fitted, split

    text, cut = _fitted(task, example, engine, task.choices(example), engine.max_model_len + 1)
    bare = task.chat and text[-1:].isspace()  # where a chat template ends in white space the answer begins without one
    choices = [choice.lstrip(" ") if bare else choice for choice in task.choices(example)]
    rows = [fitted(*split(engine.texts, text, choice), engine.max_model_len) for choice in choices]
    return Prompt(index, text, cut or any(more for _, more in rows), choices=choices, rows=[row for row, _ in rows])


def _fitted(task: Task, example: Example, engine: Engine, tails: Sequence[str], room: int) -> tuple[str, bool]:
    """The prompt, in the tokenizer's chat template where asked for, its passage cut where it does not fit.

    Args:
        tails: what may stand behind it.
        room: tokens of prompt and longest tail; a tail's last token is not read.
    """
    read: dict[str, list[list[int]]] = {}

    def whole(prompt: str) -> str:
        return engine.chat(prompt) if task.chat else prompt

    def count(prompt: str) -> int:
        if prompt not in read:
            read[prompt] = engine.texts.encode([whole(prompt) + tail for tail in tails])
        return max(map(len, read[prompt]))

    prompt, cut = task.fit(example, count, room)
    if count(prompt) > room:
        passage = " even without its passage" if cut else ""
        raise InputError(f"the prompt has {count(prompt)} tokens{passage}, the context leaves room for {room}")
    engine.texts.check(read[prompt])
    return whole(prompt), cut
