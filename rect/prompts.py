"""From facts to tokens: rows of text for the optimization, targets, and where the subject ends.

Everything is filled by replacement, so braces in a prompt, a subject or a prefix mean themselves. Rules of this file:

- Whether a space stands before a target follows from the text, or the fact says it (`rect.joint`).
- The lookup position of a row is the token that holds the subject's last character. Where `{}` stands in a prompt more
  than once, the first one counts; the subject's name elsewhere in the prompt does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rect.facts import Fact
from rect.joint import joint

KL_TEMPLATE = "{} is a"


@dataclasses.dataclass(frozen=True)
class Row:
    """One sequence of tokens.

    Attributes:
        ids: the tokens: a prompt and all tokens of the target but the last.
        lookup: index of the subject's last token.
        targets: the target's tokens; `targets[-1 - i]` is what should follow `ids[-1 - i]`. Empty if nothing is asked.
    """

    ids: tuple[int, ...]
    lookup: int
    targets: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return len(self.ids)


def encode(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a text that stands at the beginning, with the special tokens that the tokenizer puts there."""
    return list(tokenizer(text)["input_ids"])


def continue_with(tokenizer: Any, prompt: str, target: str, space: bool | None = None) -> tuple[list[int], list[int]]:
    """Tokens of a prompt and of the target behind it; `space` as in `rect.joint`.

    The two are tokenized as one text. Where the target's beginning would change the prompt's own tokens they are
    tokenized apart, so that the prompt stays what a user would type.
    """
    behind = joint(prompt, target, space) + target
    ids, whole = encode(tokenizer, prompt), encode(tokenizer, prompt + behind)
    if len(whole) > len(ids) and whole[: len(ids)] == ids:
        return ids, whole[len(ids) :]
    return ids, _apart(tokenizer, ids, behind)


def _apart(tokenizer: Any, ids: list[int], target: str) -> list[int]:
    """Tokens of a target by itself that read as the target behind the prompt's tokens.

    Some tokenizers put a space before whatever they are given: the target's own would be doubled, and one that has none
    would get it. Behind a line end it gets none.
    """
    before = _text(tokenizer, ids)
    alone, line, behind = (
        list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (target, "\n", f"\n{target}")
    )
    pieces = [alone]
    if target.startswith(" "):
        pieces.append(list(tokenizer(target[1:], add_special_tokens=False)["input_ids"]))
    elif behind[: len(line)] == line:
        pieces.append(behind[len(line) :])
    return next((piece for piece in pieces if _text(tokenizer, ids + piece) == before + target), pieces[0])


def _text(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def token_at(tokenizer: Any, text: str, ids: Sequence[int], end: int) -> int:
    """Index of the token that holds the character before `end`; of several (bytes of one character) the last."""
    if tokenizer.is_fast:
        spans = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        holding = [i for i, (start, stop) in enumerate(spans[: len(ids)]) if start < end <= stop]
        if holding:
            return holding[-1]
    return min(len(encode(tokenizer, text[:end])), len(ids)) - 1


def subject_end(prompt: str, subject: str) -> int:
    """Index behind the subject in the filled prompt, at the first `{}`."""
    return prompt.index("{}") + len(subject)


def edit_rows(tokenizer: Any, fact: Fact, templates: Sequence[str]) -> list[Row]:
    """One row per context template: template, filled prompt, and the target's tokens but the last."""
    rows = []
    for template in templates:
        before, after = template.split("{}", 1)
        text = before + fact.filled + after
        ids, targets = continue_with(tokenizer, text, fact.target, fact.space)
        lookup = token_at(tokenizer, text, ids, len(before) + subject_end(fact.prompt, fact.subject))
        rows.append(Row((*ids, *targets[:-1]), lookup, tuple(targets)))
    return rows


def kl_row(tokenizer: Any, subject: str) -> Row:
    """The row whose next-token distribution at the subject is to stay: "{} is a" up to the subject's last token."""
    text = KL_TEMPLATE.replace("{}", subject, 1)
    ids = encode(tokenizer, text)
    lookup = token_at(tokenizer, text, ids, len(subject))
    return Row(tuple(ids[: lookup + 1]), lookup)
