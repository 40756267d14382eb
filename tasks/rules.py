"""Scoring rules that a custom task names in its YAML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelfolder.answers import normalize
from tasks import text

Rule = Callable[[str, Sequence[str], Sequence[str]], tuple[float, bool]]


def exact(output: str, answers: Sequence[str], choices: Sequence[str]) -> tuple[float, bool]:
    """The first line equals an answer, both normalized (lower case, no punctuation, no a/an/the)."""
    return float(text.equals_any(text.first_line(output), answers)), text.has_words(output)


def contains(output: str, answers: Sequence[str], choices: Sequence[str]) -> tuple[float, bool]:
    """An answer stands somewhere in the output as whole words, both normalized."""
    return float(text.holds_any(output, answers)), text.has_words(output)


def first_word(output: str, answers: Sequence[str], choices: Sequence[str]) -> tuple[float, bool]:
    """The output begins with an answer as whole words, both normalized."""
    words = f"{normalize(output)} "
    right = any(words.startswith(f"{normalize(answer)} ") for answer in answers)
    return float(right), text.has_words(output)


def choice(output: str, answers: Sequence[str], choices: Sequence[str]) -> tuple[float, bool]:
    """The first of the choices that stands in the output as a word of its own, case folded, is the answer."""
    found = text.first_standalone(output, choices, fold=True)
    return float(found is not None and found.casefold() in {answer.casefold() for answer in answers}), found is not None


def number(output: str, answers: Sequence[str], choices: Sequence[str]) -> tuple[float, bool]:
    """The first number, commas and $ removed, equals an answer."""
    found = text.first_number(output)
    return float(found is not None and found in {text.first_number(answer) for answer in answers}), found is not None


def rouge(output: str, answers: Sequence[str], choices: Sequence[str]) -> tuple[float, bool]:
    """Mean of ROUGE-1, -2, -L F1 against the best answer."""
    return max(text.rouge(output, answer) for answer in answers), text.has_words(output)


RULES: dict[str, Rule] = {
    "exact": exact,
    "contains": contains,
    "first-word": first_word,
    "choice": choice,
    "number": number,
    "rouge": rouge,
}
