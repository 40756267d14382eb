"""Metrics of an edit beside reliability, generalization and locality (`rect.evaluation`), taken where they are wanted.

Each is a function `(model, facts) -> EditScores` in a module here: the model as it stands, all facts edited so far. A
new one is one file and one line in `METRICS`, with a version, which goes up whenever its numbers change. The module
is imported when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelfolder.errors import InputError, nearest

if TYPE_CHECKING:
    from rect.evaluation import EditScores
    from rect.facts import Fact
    from rect.model import EditableModel

__all__ = ["METRICS", "Metric", "get"]


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
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)(model, facts)


METRICS: dict[str, Metric] = {
    "counterfact": Metric("counterfact:evaluate", "1"),
}


def get(name: str) -> Metric:
    """A metric by name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in METRICS:
        raise InputError(f"metric {name!r} is not known; {nearest(name, METRICS)}")
    return METRICS[name]
