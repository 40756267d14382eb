"""Metrics of an edit beside reliability, generalization and locality (`rect.evaluation`), taken where they are wanted.

Each is a function `(model, facts) -> EditScores` in a module here: the model as it stands, all facts edited so far. Or,
where an engine is to say something (`Spoken`), two functions: the questions, and what an answer is worth. A new one is
one file and one line in `METRICS`, with a version, which goes up whenever its numbers change. The module is imported
when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from modelfolder.errors import InputError, nearest

if TYPE_CHECKING:
    from rect.evaluation import EditScores
    from rect.facts import Fact
    from rect.metrics.spoken import Chat, Question, Rules
    from rect.model import EditableModel

__all__ = ["METRICS", "Metric", "Spoken", "get"]


@dataclass(frozen=True)
class Metric:
    """A metric as it is called, and the version that ids are made of.

    Attributes:
        function: "module:function" in this package, `(model, facts) -> EditScores`.
        version: other numbers, another version.
    """

    function: str
    version: str

    def __call__(self, model: EditableModel, facts: Sequence[Fact]) -> EditScores:
        return _found(self.function)(model, facts)


@dataclass(frozen=True)
class Spoken:
    """A metric of what the model says when an engine asks it, greedily.

    Attributes:
        function: "module:function" in this package, `(facts, chat) -> questions` (`rect.metrics.spoken`). Its module
            has also the `Rules`: what an answer is worth, how long it is, which figure stands beside it in the outputs,
            what figures are made of the answers.
        version: other numbers, another version.
        reads: keys of facts that are no part of a fact's digest, so of the metric's id.
        given: key of a sweep's `edits` that names a folder of files that it needs; the module's `identity` tells these
            from others, its `Rules` are made of the folder.
    """

    function: str
    version: str
    reads: tuple[str, ...] = ()
    given: str | None = None

    def questions(self, facts: Sequence[Fact], chat: Chat) -> list[Question]:
        found: list[Question] = _found(self.function)(facts, chat)
        return found

    @property
    def budget(self) -> int:
        """Tokens of an answer, at most."""
        return int(_module(self.function).BUDGET)

    def rules(self, folder: str | None = None) -> Rules:
        """`judge`, `scores`, `BUDGET` and so on; with the files of a folder where some have to be given."""
        found = _module(self.function)
        return cast("Rules", found if self.given is None else found.rules(folder))

    def files(self, folder: str, facts: Sequence[Fact]) -> str:
        """What tells the files that are given from others. Raises InputError where they do not serve these facts."""
        return cast("str", _module(self.function).identity(folder, facts))


def _found(path: str) -> Any:
    return getattr(_module(path), path.partition(":")[2])


def _module(path: str) -> Any:
    return importlib.import_module(f"{__name__}.{path.partition(':')[0]}")


METRICS: dict[str, Metric | Spoken] = {
    "counterfact": Metric("counterfact:evaluate", "1"),
    "portability": Metric("portability:evaluate", "1"),
    "generation": Spoken("generation:as_it_is", "1"),
    "generation-question": Spoken("generation:as_question", "1"),
    "generation-chat": Spoken("generation:in_chat", "1"),
    "mquake": Spoken("mquake:questions", "1"),
    "ripple": Spoken("ripple:questions", "1"),
    "fluency": Spoken("fluency:openings", "1", reads=("openings",)),
    "consistency": Spoken("consistency:openings", "1", reads=("openings", "attribute"), given="snippets"),
}


def get(name: str) -> Metric | Spoken:
    """A metric by name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in METRICS:
        raise InputError(f"metric {name!r} is not known; {nearest(name, METRICS)}")
    return METRICS[name]
