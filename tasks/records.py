"""From a data set's records to a task's examples: what the two are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """One question to the model.

    id: its index in the source ("17"; ner adds the type: "17/Person"); the same however many are drawn.
    fields: the texts that fill the prompt.
    gold: the right answer, JSON-able; what it is depends on the task.
    """

    id: str
    fields: dict[str, str]
    gold: Any


class Examples(list[Example]):
    """A list of examples that knows where it came from.

    provenance: source, file and SHA-256, or data set id and revision; goes into the rows' environment.
    """

    def __init__(self, examples: Sequence[Example] = (), provenance: dict[str, str] | None = None) -> None:
        super().__init__(examples)
        self.provenance = dict(provenance or {})


@dataclass(frozen=True)
class HubData:
    """A data set on the Hugging Face hub that loads without a script."""

    path: str
    config: str | None
    split: str


@dataclass(frozen=True)
class Data:
    """The data set behind a task.

    title, split, size, licence, citation: for people.
    files: where it may lie in a directory, first match wins: the authors' file name first, then the task's own name
        (`<task>.jsonl`, which is not listed), then others.
    text: how its plain-text files are read: "conll", "mutual", or "" where it has none.
    """

    title: str
    split: str
    size: int
    licence: str
    citation: str
    files: tuple[str, ...] = ()
    hub: HubData | None = None
    text: str = ""
