"""Zero-shot tasks that show what an edit did to a model's general abilities: data, prompts, scoring, engines.

>>> import tasks
>>> nli = tasks.get("nli")
>>> examples = nli.examples("bundled", limit=8, seed=0)
>>> prompts = [nli.prompt(example) for example in examples]
>>> nli.score([" True"] * 8, examples)["score"]        # doctest: +SKIP
Score(value=0.5, stderr=0.19, n=8)

Scoring works on plain strings: no model and no engine is needed for it. Importing the package loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelfolder.errors import InputError
    from tasks.base import Judgement, Task
    from tasks.records import Example, Examples
    from tasks.registry import GLUE, NAMES, SETS, TASKS, get
    from tasks.scores import Score

_HOMES = {
    "InputError": "modelfolder.errors",
    "Score": "tasks.scores",
    **dict.fromkeys(("Example", "Examples"), "tasks.records"),
    **dict.fromkeys(("Judgement", "Task"), "tasks.base"),
    **dict.fromkeys(("GLUE", "NAMES", "SETS", "TASKS", "get"), "tasks.registry"),
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Loads an exported name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tasks' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
