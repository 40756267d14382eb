"""What a model is asked of facts under teacher forcing: prompts with answers as tokens, and what it says of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from modelfolder.errors import InputError
from rect import lengths
from rect.facts import Fact
from rect.forcing import Query, target_logits
from rect.prompts import continue_with, encode

if TYPE_CHECKING:
    from rect.model import EditableModel


@contextlib.contextmanager
def once(model: EditableModel) -> Iterator[None]:
    """Within it the model, which must stay as it is, reads each query once, whichever metrics ask."""
    before, model.readings = model.readings, {}
    try:
        yield
    finally:
        model.readings = before


def read(model: EditableModel, queries: Sequence[Query]) -> list[tuple[float, float]]:
    """Per query: (share of target tokens that are the argmax, log-probability of the target)."""
    known = {} if model.readings is None else model.readings
    new = [one for one in queries if one not in known]
    for index, logits in target_logits(model, new):
        target = torch.tensor(new[index].target, device=logits.device)  # (tokens,)
        share = (logits.argmax(-1) == target).double().mean()
        chosen = torch.log_softmax(logits, -1).gather(1, target[:, None]).double().sum()
        known[new[index]] = (float(share), float(chosen))
    return [known[one] for one in queries]


def query(tokenizer: Any, prompt: str, answer: str, space: bool | None = None) -> Query:
    """An answer behind a prompt, with a space before it or without (`rect.joint`)."""
    ids, target = continue_with(tokenizer, prompt, answer, space)
    return Query(tuple(ids), tuple(target))


def locality_query(tokenizer: Any, prompt: str, answer: str | None) -> Query:
    """As `query`; without an answer the one token behind the prompt."""
    return query(tokenizer, prompt, answer) if answer else Query(tuple(encode(tokenizer, prompt)), (0,))


def check(model: EditableModel, facts: Sequence[Fact], what: str, queries: Sequence[Sequence[Query]]) -> None:
    """Raise InputError for the first query that the model cannot be asked."""
    limit = lengths.context(model.hf.config)
    for fact, rows in zip(facts, queries, strict=True):
        for number, one in enumerate(rows, 1):
            if reason := lengths.of_tokens(one.prompt, one.target, limit):
                raise InputError(f"{fact.shown}: {what} {number} {reason}")


def flat(rows: Sequence[Sequence[Query]]) -> list[Query]:
    """All queries of all facts."""
    return [one for row in rows for one in row]


def nested(shape: Sequence[Sequence[Query]], flat: Sequence[Any]) -> list[list[Any]]:
    """`flat` cut into the lengths of `shape`."""
    values = iter(flat)
    return [[next(values) for _ in rows] for rows in shape]
