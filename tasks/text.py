"""Text helpers that the scoring rules share: normalization, first number, standalone words, ROUGE."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from modelfolder.answers import normalize

_NUMBER = re.compile(r"(?:(?<!\w)-)?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)")


def first_line(text: str) -> str:
    """The first line that is not blank; "" if there is none."""
    lines = text.strip().splitlines()
    return lines[0].strip() if lines else ""


def equals_any(text: str, answers: Sequence[str]) -> bool:
    """Whether the normalized text equals a normalized answer."""
    plain = normalize(text)
    return plain != "" and any(plain == normalize(answer) for answer in answers)


def holds_any(text: str, answers: Sequence[str]) -> bool:
    """Whether some contiguous run of the normalized text's words equals a normalized answer."""
    words = f" {normalize(text)} "
    return any(plain and f" {plain} " in words for plain in map(normalize, answers))


def has_words(text: str) -> bool:
    """Whether there is a letter or digit in it: punctuation alone is no answer."""
    return any(character.isalnum() for character in text)


def first_number(text: str) -> Decimal | None:
    """The first number, with commas and $ removed before: "$1,080.50." -> 1080.5; None if there is none.

    A minus sign (also the typographic one) counts when no letter or digit stands before it: "16-3" starts with 16.
    """
    match = _NUMBER.search(_plain_number(text))
    return Decimal(match[0]) if match else None


def is_number(text: str) -> bool:
    """Whether the text is one number and nothing else, commas and $ aside."""
    return _NUMBER.fullmatch(_plain_number(text).strip()) is not None


def _plain_number(text: str) -> str:
    return text.replace(",", "").replace("$", "").replace("\u2212", "-")


def first_of(text: str, words: Sequence[str]) -> str | None:
    """Which of the words occurs first in the text, case folded, also inside a longer word; None if none does."""
    folded = text.casefold()
    found = [(folded.find(word.casefold()), word) for word in words]
    return min(((at, word) for at, word in found if at >= 0), default=(0, None))[1]


def first_standalone(text: str, words: Sequence[str], fold: bool = False) -> str | None:
    """Which of the words occurs first as a word of its own: no letter or digit next to it; the longest at that place.

    fold: whether case is ignored.
    """
    by_form = {(word.casefold() if fold else word): word for word in words if word}
    if not by_form:
        return None
    forms = "|".join(re.escape(form) for form in sorted(by_form, key=len, reverse=True))
    match = re.search(rf"(?<![^\W_])(?:{forms})(?![^\W_])", text.casefold() if fold else text)
    return by_form[match[0]] if match else None


def rouge(text: str, reference: str) -> float:
    """Mean of ROUGE-1, ROUGE-2 and ROUGE-L F1 (package rouge-score, no stemmer), in [0, 1]."""
    from rouge_score.rouge_scorer import RougeScorer

    measures = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False).score(reference, text)
    return float(sum(measure.fmeasure for measure in measures.values()) / 3)
