"""From facts to what MEND trains on: tokens of edits, of their rephrasings, and of prompts out of scope.

What is drawn in an edit follows from (seed, number of the edit) alone, so a training that was interrupted goes on as if
it had not been.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect import lengths
from rect.facts import Fact
from rect.joint import joint
from rect.order import permutation
from rect.prompts import continue_with, encode

NOTHING = -100


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of tokens, padded on the right.

    Attributes:
        ids: (rows, positions)
        targets: the token that should follow each position, `NOTHING` where nothing is asked, (rows, positions).
        real: not padding, (rows, positions)
    """

    ids: Tensor
    targets: Tensor
    real: Tensor

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Example:
    """One edit: its facts' edit rows, rephrased rows (one per fact that has one), and locality rows.

    `only` are the indices of the edit rows whose facts have no rephrasing.
    """

    edit: Rows
    rephrased: Rows | None
    locality: Rows
    only: tuple[int, ...] = ()


def answered(tokenizer: Any, asked: Sequence[tuple[str, str, bool | None]], device: torch.device) -> Rows:
    """Rows of a prompt and its answer, with `rect.joint`'s `space`, of which the answer's tokens are asked."""
    ids, targets = [], []
    for prompt, answer, space in asked:
        before, after = continue_with(tokenizer, prompt, answer, space)
        ids.append([*before, *after[:-1]])
        targets.append([*[NOTHING] * (len(before) - 1), *after])
    return _padded(ids, targets, device)


def plain(tokenizer: Any, texts: Sequence[str], device: torch.device) -> Rows:
    """Rows of text of which nothing is asked."""
    ids = [encode(tokenizer, text) for text in texts]
    return _padded(ids, [[NOTHING] * len(row) for row in ids], device)


def _padded(ids: list[list[int]], targets: list[list[int]], device: torch.device) -> Rows:
    width = max(len(row) for row in ids)
    fill = [[*row, *[row[-1]] * (width - len(row))] for row in ids]
    ask = [[*row, *[NOTHING] * (width - len(row))] for row in targets]
    real = [[True] * len(row) + [False] * (width - len(row)) for row in ids]
    return Rows(*(torch.tensor(part, device=device) for part in (fill, ask, real)))


def locality_texts(fact: Fact) -> list[str]:
    """The fact's prompts out of scope, with their answers where they are known."""
    return [_with_answer(one.prompt, one.answer) for one in fact.locality]


def _with_answer(prompt: str, answer: str | None, space: bool | None = None) -> str:
    return prompt + joint(prompt, answer, space) + answer if answer else prompt


def trouble(tokenizer: Any, limit: int | None, fact: Fact, vocabulary: int | None = None) -> str | None:
    """Why MEND cannot be trained with a fact; None where it can. Of locality texts the last token is read too."""
    texts = enumerate(locality_texts(fact), 1)
    long = (
        f"locality prompt {i} {why}" for i, t in texts if (why := lengths.too_long(len(encode(tokenizer, t)), limit))
    )
    return lengths.trouble(tokenizer, limit, fact, vocabulary=vocabulary) or next(long, None)


@dataclasses.dataclass(frozen=True)
class Split:
    """Facts by use; no fact is in two of them."""

    train: tuple[Fact, ...]
    validation: tuple[Fact, ...]
    held_out: tuple[Fact, ...]

    @classmethod
    def of(cls, facts: Sequence[Fact], validation: int, held_out: int, seed: int) -> Split:
        """A seeded permutation, cut: held-out facts first, so that they do not depend on the other sizes.

        Raises:
            InputError: nothing is left to train on.
        """
        order = [facts[i] for i in permutation(len(facts), seed, "split")]
        if validation + held_out >= len(facts):
            raise InputError(
                f"MEND training: {len(facts)} facts are too few: {validation} for validation and {held_out} held out "
                f"leave none to train on"
            )
        cut = held_out + validation
        return cls(tuple(order[cut:]), tuple(order[held_out:cut]), tuple(order[:held_out]))


class Examples:
    """The edits of a training or of a validation.

    Args:
        tokenizer: the model's.
        facts: the facts, in groups of `batch_size`.
        batch_size: facts in one edit.
        seed: of order and choice.
        device: of the rows.
    """

    def __init__(self, tokenizer: Any, facts: Sequence[Fact], batch_size: int, seed: int, device: torch.device) -> None:
        self.tokenizer, self.facts, self.batch_size = tokenizer, tuple(facts), batch_size
        self.seed, self.device = seed, device
        self._pool = [text for fact in facts for text in locality_texts(fact)]
        self._epoch: tuple[int, list[int]] = (-1, [])

    def __getitem__(self, number: int) -> Example:
        """The edit of a number, counted from 0 without end: epoch after epoch, each in another order."""
        first = number * self.batch_size
        return self.example([self._fact(i) for i in range(first, first + self.batch_size)], number)

    def _fact(self, index: int) -> Fact:
        epoch, place = divmod(index, len(self.facts))
        if self._epoch[0] != epoch:
            self._epoch = (epoch, permutation(len(self.facts), self.seed, f"epoch {epoch}"))
        return self.facts[self._epoch[1][place]]

    def example(self, facts: Sequence[Fact], number: int) -> Example:
        """The edit of given facts; `number` chooses among their rephrasings and locality prompts."""
        tokenizer, device = self.tokenizer, self.device
        edit = answered(tokenizer, [(fact.filled, fact.target, fact.space) for fact in facts], device)
        other = [
            (self._choice(fact.rephrasings, number, "rephrasing"), fact.target, fact.space)
            for fact in facts
            if fact.rephrasings
        ]
        texts = [self._choice(self._out_of_scope(fact), number, "locality") for fact in facts]
        only = tuple(i for i, fact in enumerate(facts) if not fact.rephrasings)
        rephrased = answered(tokenizer, other, device) if other else None
        return Example(edit, rephrased, plain(tokenizer, texts, device), only)

    def _out_of_scope(self, fact: Fact) -> Sequence[str]:
        """Its own locality prompts, else those of the other facts, else what the other facts were before editing."""
        texts = locality_texts(fact) or self._pool
        if not texts:
            others = [other for other in self.facts if other.subject != fact.subject]
            texts = [_with_answer(other.filled, other.original, other.space) for other in others]
        if not texts:
            raise InputError("MEND training needs prompts out of scope: facts with locality prompts, or several facts")
        return texts

    def _choice(self, texts: Sequence[str], number: int, purpose: str) -> str:
        digest = hashlib.sha256(f"{self.seed}/{purpose}/{number}".encode()).digest()
        return texts[int.from_bytes(digest[:8], "big") % len(texts)]
