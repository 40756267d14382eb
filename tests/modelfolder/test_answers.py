"""Exact match and containment on hand-made answers, beside a second implementation that shares no code with it."""

from __future__ import annotations

import unicodedata

import pytest

from modelfolder.answers import contains, equals

ROME, TOLKIEN, US = ("Rome",), ("J. R. R. Tolkien", "John Ronald Reuel Tolkien"), ("United States", "USA", "the U.S.")
DATE, NUMBER, CAFE = ("4 July 1776", "July 4, 1776"), ("1,250",), ("Caf\u00e9 Tortoni",)

CASES: list[tuple[str, tuple[str, ...], bool, bool]] = [  # what is said, what is right, exact match, containment
    # the answer and what may stand around it
    ("Rome", ROME, True, True),
    ("rome", ROME, True, True),
    ("ROME", ROME, True, True),
    (" Rome ", ROME, True, True),
    ("Rome.", ROME, True, True),
    ("Rome!", ROME, True, True),
    ("'Rome'", ROME, True, True),
    ("(Rome)", ROME, True, True),
    ("Rome, Italy", ROME, False, True),
    ("in Rome", ROME, False, True),
    ("The capital is Rome.", ROME, False, True),
    ("Rome and Paris", ROME, False, True),
    ("not Rome", ROME, False, True),
    ("Paris", ROME, False, False),
    ("Romeo", ROME, False, False),
    ("Jerome", ROME, False, False),
    ("Romes", ROME, False, False),
    ("Rome's", ROME, False, False),
    ("R ome", ROME, False, False),
    ("Rom", ROME, False, False),
    ("\u201cRome\u201d", ROME, False, True),
    ("Rome\u2014Italy", ROME, False, True),
    ("Rome_1", ROME, False, False),
    # articles
    ("the Rome", ROME, True, True),
    ("A Rome", ROME, True, True),
    ("The  an Rome", ROME, True, True),
    ("Theatre", ("Atre",), False, False),
    ("Beatles", ("The Beatles",), True, True),
    ("an apple", ("apple",), True, True),
    ("the the", ("The The",), True, True),
    ("the", ("The The",), False, False),
    ("The", ("a",), False, False),
    ("", ("The",), False, False),
    ("Who", ("The Who",), True, True),
    ("a b", ("b",), True, True),
    ("ab", ("b",), False, False),
    ("Anna", ("Na",), False, False),
    ("Tale of Two Cities", ("A Tale of Two Cities",), True, True),
    # initials and several right answers
    ("J. R. R. Tolkien", TOLKIEN, True, True),
    ("J.R.R. Tolkien", TOLKIEN, False, False),
    ("j r r tolkien", TOLKIEN, True, True),
    ("J", TOLKIEN, False, False),
    ("John Ronald Reuel Tolkien", TOLKIEN, True, True),
    ("Tolkien", TOLKIEN, False, False),
    ("It was J. R. R. Tolkien who", TOLKIEN, False, True),
    ("Christopher Tolkien", TOLKIEN, False, False),
    ("USA", US, True, True),
    ("U.S.A.", US, True, True),
    ("the US", US, True, True),
    ("us", US, True, True),
    ("U.S.", US, True, True),
    ("United States", US, True, True),
    ("the United States", US, True, True),
    ("The United States of America", US, False, True),
    ("United Kingdom", US, False, False),
    ("bus", US, False, False),
    ("they told us", US, False, True),
    ("States United", US, False, False),
    ("united  states", US, True, True),
    ("united\nstates", US, True, True),
    ("united\u00a0states", US, True, True),
    ("United-States", US, False, False),
    # dates
    ("July 4, 1776", DATE, True, True),
    ("July 4 1776", DATE, True, True),
    ("4 July, 1776", DATE, True, True),
    ("July 4th, 1776", DATE, False, False),
    ("July 1776", DATE, False, False),
    ("1776", DATE, False, False),
    ("on July 4, 1776, in", DATE, False, True),
    ("July 4, 17760", DATE, False, False),
    ("14 July 1776", DATE, False, False),
    ("4/7/1776", DATE, False, False),
    ("1776-07-04", ("1776-07-04",), True, True),
    ("1776.07.04", ("1776-07-04",), True, True),
    # numbers, as SQuAD's normalization has them
    ("1250", NUMBER, True, True),
    ("1,250", NUMBER, True, True),
    ("1.250", NUMBER, True, True),
    ("$1,250", NUMBER, True, True),
    ("1,250 people", NUMBER, False, True),
    ("11,250", NUMBER, False, False),
    ("12500", NUMBER, False, False),
    ("1 250", NUMBER, False, False),
    ("one", ("1",), False, False),
    ("-5", ("5",), True, True),
    ("3.5", ("35",), True, True),
    ("50%", ("50",), True, True),
    ("\u00bd", ("1/2",), False, False),
    ("2nd", ("2",), False, False),
    ("No. 2", ("2",), False, True),
    # Unicode
    ("Caf\u00e9 Tortoni", CAFE, True, True),
    ("Cafe\u0301 Tortoni", CAFE, True, True),
    ("Cafe Tortoni", CAFE, False, False),
    ("CAF\u00c9 TORTONI", CAFE, True, True),
    ("le Caf\u00e9 Tortoni", CAFE, False, True),
    ("\u5df4\u9ece", ("\u5df4\u9ece",), True, True),
    ("\u7b54\u6848\u662f\u5df4\u9ece\u3002", ("\u5df4\u9ece",), False, True),
    ("\u6771\u4eac\u90fd", ("\u6771\u4eac",), False, True),
    ("\u6771\u4eac", ("\u4eac\u90fd",), False, False),
    ("\u041c\u043e\u0441\u043a\u0432\u0430", ("\u043c\u043e\u0441\u043a\u0432\u0430",), True, True),
    ("\u041c\u043e\u0441\u043a\u0432\u044b", ("\u041c\u043e\u0441\u043a\u0432\u0430",), False, False),
    ("\uc11c\uc6b8", ("\uc11c\uc6b8",), True, True),
    ("\u0130stanbul", ("\u0130stanbul",), True, True),
    ("Zu\u0308rich is", ("Z\u00fcrich",), False, True),
    # no answer
    ("", ROME, False, False),
    ("   ", ROME, False, False),
    ("...", ROME, False, False),
    ("\n", ROME, False, False),
    ("Rome", (), False, False),
    ("", (), False, False),
    ("???", ("?",), False, True),
    ("Rome", ("",), False, False),
    ("", ("",), False, False),
    ("[blank]", ROME, False, False),
]


def plain_words(text: str) -> str:
    """SQuAD's normalization, letter by letter."""
    lower = unicodedata.normalize("NFC", text).lower()
    letters = [one for one in lower if one.isalnum() or one.isspace() or not one.isascii()]
    words = [word for word in "".join(letters).split() if word not in ("a", "an", "the")]
    return " ".join(words or lower.split())


def second(text: str, right: tuple[str, ...]) -> tuple[bool, bool]:
    """Exact match, and containment by looking at what stands beside every place where the answer is found."""
    said, wanted = plain_words(text), [plain_words(one) for one in right if plain_words(one)]

    def free(beside: str, edge: str) -> bool:
        return 0x3040 <= ord(edge) < 0xA000 or not (beside.isalnum() or beside == "_")

    def within(answer: str) -> bool:
        ends = [(at, at + len(answer)) for at in range(len(said)) if said.startswith(answer, at)]
        return any(free(said[max(0, a - 1) : a], answer[0]) and free(said[b : b + 1], answer[-1]) for a, b in ends)

    return said != "" and said in wanted, any(within(one) for one in wanted)


def test_there_are_a_hundred() -> None:
    assert len(CASES) >= 100


@pytest.mark.parametrize(("said", "right", "exact", "within"), CASES)
def test_answers_are_judged_as_by_hand_and_by_a_second_implementation(
    said: str, right: tuple[str, ...], exact: bool, within: bool
) -> None:
    assert (equals(said, right), contains(said, right)) == (exact, within)
    assert second(said, right) == (exact, within)
