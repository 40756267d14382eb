"""Edit facts in a language model and regularize the update (RECT, Gu et al., EMNLP 2024).

    model = rect.EditableModel.load("smollm2-135m")
    fact = rect.Fact(subject="France", prompt="The capital of {} is", target="Rome", original="Paris")
    update = rect.editors.create("rome", model).compute(model, [fact])
    kept = rect.regularizers.get("rect")(update, model, k=40)
    with model.edited(kept):
        print(model.complete("The capital of France is"))

Names are imported when they are first used, so that `import rect` itself is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelfolder.errors import InputError
    from rect import (
        analysis,
        architecture,
        covariance,
        editors,
        evaluation,
        fact_files,
        facts,
        models,
        perplexity,
        prefixes,
        regularizers,
        weights,
    )
    from rect.architecture import Architecture
    from rect.facts import Fact, Locality, Portability
    from rect.history import History
    from rect.model import EditableModel
    from rect.update import Dense, LowRank, Update, UpdateError

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "rect.architecture",
    "EditableModel": "rect.model",
    "History": "rect.history",
    "InputError": "modelfolder.errors",
    **dict.fromkeys(("Fact", "Locality", "Portability"), "rect.facts"),
    **dict.fromkeys(("Dense", "LowRank", "Update", "UpdateError"), "rect.update"),
}
_MODULES = (
    *("analysis", "architecture", "covariance", "editors", "evaluation", "fact_files", "facts", "models"),
    *("perplexity", "prefixes", "regularizers", "weights"),
)
__all__ = sorted((*_HOMES, *_MODULES))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"rect.{name}")
    raise AttributeError(f"module 'rect' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
