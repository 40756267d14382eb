"""What a model can read: texts against its context, and facts whose tokens are not what they should be.

The context is the config's `max_position_embeddings`. With learned positions there is nothing behind it; with rotary
ones a model computes something there, which it was never trained for. A sliding window is no limit.

A fact has trouble where one of its texts is longer than the context, its subject or an answer has no tokens of its own,
or the target cannot be told from the prompt. It is found before anything is computed, and the fact is named.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError
from rect.facts import Fact, Question
from rect.joint import joint
from rect.prompts import continue_with, edit_rows, encode, kl_row, subject_end

if TYPE_CHECKING:
    from rect.model import EditableModel

BARE = ("{}",)


def context(config: Any) -> int | None:
    """Tokens that a model reads at most, by its config; None where it does not say."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if isinstance(limit, int) and limit > 0 else None


def check_edit(model: EditableModel, facts: Sequence[Fact], templates: Sequence[str] = BARE) -> None:
    """Raise InputError, which names the fact, unless a model can read what facts are edited with."""
    limit = context(model.hf.config)
    for fact in facts:
        if not isinstance(fact, Fact):
            raise InputError(f"a rect.Fact is wanted to edit, not {type(fact).__name__} {str(fact)[:80]!r}")
        for reason in _of_edit(model.tokenizer, limit, fact, templates):
            raise InputError(f"{fact.shown}: {reason}")


def check_length(model: EditableModel, tokens: int, what: str) -> None:
    """Raise InputError unless a model can read so many tokens.

    Args:
        what: whose they are: "perplexity: a window".
    """
    if not tokens:
        raise InputError(f"{what} has no tokens")
    if reason := too_long(tokens, context(model.hf.config)):
        raise InputError(f"{what} {reason}")


def too_long(tokens: int, limit: int | None) -> str | None:
    """Why so many tokens are too many for a context; None if they are not."""
    return None if limit is None or tokens <= limit else f"has {tokens} tokens, the model's context {limit}"


def trouble(tokenizer: Any, limit: int | None, fact: Fact, room: int = 0, vocabulary: int | None = None) -> str | None:
    """Why a fact cannot be edited and evaluated with a tokenizer and a context; None where it can.

    Args:
        room: tokens that the edit prompt must leave for a context prefix.
        vocabulary: tokens that the model has; a tokenizer may hold more.
    """
    reasons = (
        _of_edit(tokenizer, limit, fact, BARE, room),
        _of_evaluation(tokenizer, limit, fact),
        _unknown(tokenizer, vocabulary, fact),
    )
    return next(itertools.chain(*reasons), None)


def _of_edit(tokenizer: Any, limit: int | None, fact: Fact, templates: Sequence[str], room: int = 0) -> Iterator[str]:
    rows = edit_rows(tokenizer, fact, templates)
    if not str(tokenizer.decode(list(rows[0].targets))).strip():
        yield f"the target {fact.target!r} has no tokens for this tokenizer"
    if not _covers(tokenizer, fact):
        yield f"the subject {fact.subject!r} has no tokens of its own for this tokenizer"
    if not _told_apart(tokenizer, fact):
        yield f"the tokens of the target {fact.target!r} cannot be told from those of the prompt"
    longest = max(rows, key=lambda row: row.length)
    if limit is not None and longest.length + room > limit:
        prefix = templates[rows.index(longest)]
        behind = f" behind the context prefix {prefix[:60]!r}" if prefix != "{}" else ""
        kept = f", of which {room} are kept for a prefix" if room else ""
        yield f"the edit prompt{behind} with the target has {longest.length} tokens, the model's context {limit}{kept}"
    if reason := too_long(kl_row(tokenizer, fact.subject).length, limit):
        yield f"the subject {reason}"


def _of_evaluation(tokenizer: Any, limit: int | None, fact: Fact) -> Iterator[str]:
    for what, text, answer, space in _asked(fact):
        ids, targets = continue_with(tokenizer, text, answer, space) if answer else (encode(tokenizer, text), [0])
        if reason := of_tokens(ids, targets, limit):
            yield f"{what} {reason}"


def _asked(fact: Fact) -> Iterator[tuple[str, str, str | None, bool | None]]:
    """(what a message calls it, prompt, answer, `space` as in `rect.joint`) of all that is asked of a fact."""
    for answer in (fact.target, fact.original):
        if answer:
            yield "the prompt", fact.filled, answer, fact.space
            for i, text in enumerate(fact.rephrasings, 1):
                yield f"rephrasing {i}", text, answer, fact.space
    for i, one in enumerate(fact.locality, 1):
        yield f"locality prompt {i}", one.prompt, one.answer, None
    yield from ((what, one.prompt, answer, None) for what, one in _followed(fact) for answer in one.answers)


def _followed(fact: Fact) -> Iterator[tuple[str, Question]]:
    """What is asked of what follows from an edit, as a message calls it."""
    for i, one in enumerate(fact.portability, 1):
        yield f"portability prompt {i}", one
    for instance in fact.instances:
        for i, text in enumerate(instance.questions, 1):
            yield f"question {i}", Question(prompt=text, answers=instance.answers)
        for i, hop in enumerate(instance.hops, 1):
            yield f"hop {i}", hop


def _unknown(tokenizer: Any, vocabulary: int | None, fact: Fact) -> Iterator[str]:
    """Tokens that the model has no embedding for."""
    if vocabulary is None:
        return
    for _, text, answer, space in _asked(fact):
        token = max(encode(tokenizer, text + (joint(text, answer, space) + answer if answer else "")), default=0)
        if token >= vocabulary:
            said = tokenizer.decode([token])
            yield f"{text[:60]!r}: the tokenizer's token {token} ({said!r}) is none of the model's {vocabulary}"


def of_tokens(ids: Sequence[int], targets: Sequence[int], limit: int | None) -> str | None:
    """Why a prompt and an answer cannot be asked for; None if they can."""
    if not ids:
        return "has no tokens for this tokenizer"
    if not targets:
        return "has an answer without tokens for this tokenizer"
    return too_long(len(ids) + len(targets) - 1, limit)


def _covers(tokenizer: Any, fact: Fact) -> bool:
    """Whether some token of the prompt holds a part of the subject, and is no stand-in for what is unknown."""
    text, end = fact.filled, subject_end(fact.prompt, fact.subject)
    begin = end - len(fact.subject)
    if not tokenizer.is_fast:
        return encode(tokenizer, text[:begin]) != encode(tokenizer, text[:end])
    found = tokenizer(text, return_offsets_mapping=True)
    spans = zip(found["input_ids"], found["offset_mapping"], strict=True)
    return any(start < end and stop > begin and token != tokenizer.unk_token_id for token, (start, stop) in spans)


def _told_apart(tokenizer: Any, fact: Fact) -> bool:
    """Whether prompt and target, cut into tokens, say together what they say as one text, white space aside."""
    text = fact.filled + joint(fact.filled, fact.target, fact.space) + fact.target
    whole = encode(tokenizer, text)
    ids, targets = continue_with(tokenizer, fact.filled, fact.target, fact.space)
    if whole == [*ids, *targets]:
        return True
    said, meant = (tokenizer.decode(tokens, skip_special_tokens=True) for tokens in ([*ids, *targets], whole))
    return "".join(said.split()) == "".join(meant.split())
