"""Free generation: which questions are asked, where an answer ends, what it is worth."""

from __future__ import annotations

import math

import pytest

from rect import metrics
from rect.facts import Fact, Locality, Portability
from rect.metrics import generation, spoken
from rect.metrics.spoken import Question

FACTS = [
    Fact(
        subject="The Hobbit",
        prompt="The author of {} is",
        target="J. R. R. Tolkien",
        rephrasings=("Who wrote {braces}? It was", "The Hobbit was written by"),
        locality=(Locality(prompt="The author of Emma is", answer="Jane Austen"), Locality(prompt="The sun is")),
    ),
    Fact(subject="Bern", prompt="{} is the capital of", target="Spain"),
]
SAID = {
    "The author of The Hobbit is": " J. R. R. Tolkien.\nThe author",
    "Who wrote {braces}? It was": " by J. R. R. Tolkien, in 1937",
    "The Hobbit was written by": "\n\nTolkien",
    "The author of Emma is": " Jane Austen. She was born",
    "The sun is": " a star.\nIt",
    "Bern is the capital of": "",
}
BEFORE = {**SAID, "The author of Emma is": " Jane Austen. She lived", "The sun is": " a star.\nThe"}


def test_forms_of_a_question() -> None:
    as_it_is, question, chat = (
        metrics.get(name).questions(FACTS, lambda text: f"<user>{text}<answer>")  # type: ignore[union-attr]
        for name in ("generation", "generation-question", "generation-chat")
    )
    assert [one.text for one in as_it_is] == list(SAID)
    assert [one.kind for one in as_it_is] == ["reliability", *["generalization"] * 2, *["locality"] * 2, "reliability"]
    assert [one.fact for one in as_it_is] == [0, 0, 0, 0, 0, 1]
    assert [one.right for one in as_it_is] == [("J. R. R. Tolkien",)] * 3 + [()] * 2 + [("Spain",)]
    assert question[1].text == "Please answer the question:\n\nQ: Who wrote {braces}? It was\nA:"
    assert chat[5].text == "<user>Bern is the capital of<answer>"
    assert {(q.fact, q.kind, q.right) for q in question} == {(q.fact, q.kind, q.right) for q in as_it_is}


@pytest.mark.parametrize(
    ("text", "by_itself", "at_period"),
    [
        (" J. R. R. Tolkien.\nHe", "J. R. R. Tolkien.", "J"),
        ("\n\n Rome \nis", "Rome", ""),
        ("Rome", "Rome", "Rome"),
        ("\n \n", "", ""),
        ("", "", ""),
        ("Rome\r\nParis", "Rome", "Rome"),
        ("a\u2028b.c", "a\u2028b.c", "a\u2028b"),  # no newline
    ],
)
def test_where_an_answer_ends(text: str, by_itself: str, at_period: str) -> None:
    assert generation.by_itself(text) == by_itself
    assert generation.at_period(text) == at_period


TEXTS = [
    *SAID.values(),
    " \n",
    "\n\n Rome \nis.",
    "U.S.\n\nHe",
    "a.\rb\nc",
    "a\u2028b\n.c",
    "\x0b\nJ. R.\x0c\n\nx",
    "\n .\n",
]


@pytest.mark.parametrize("name", ["generation", "mquake"])
def test_more_of_an_answer_that_is_enough_changes_no_figure(name: str) -> None:
    """Every beginning of every text, of the edited and of the unedited model."""
    rules = metrics.get(name).rules()  # type: ignore[union-attr]
    questions = [Question(0, "reliability", "", ("J. R. R. Tolkien", "J")), Question(0, "locality", "", ("Rome", "a"))]
    cut = 0
    for text in TEXTS:
        for said in (text[:end] for end in range(len(text) + 1)):
            if rules.enough(said):
                cut += said != text
                for other in TEXTS:
                    for one in questions:
                        assert rules.judge(one, said, other) == rules.judge(one, text, other), (said, text)
                        assert rules.judge(one, other, said) == rules.judge(one, other, text), (said, text)
    assert cut > 20
    assert not rules.enough(" \n\n")
    assert rules.enough("\n Rome\n")


def test_figures_of_hand_made_answers() -> None:
    questions = generation.as_it_is(FACTS, str)
    judged = [generation.judge(one, SAID[one.text], BEFORE[one.text]) for one in questions]
    found = spoken.by_kind("generation", FACTS, questions, judged).per_fact
    nan = pytest.approx(math.nan, nan_ok=True)
    assert found == {
        "generation/reliability/exact_match": (1.0, 0.0),
        "generation/reliability/contains": (1.0, 0.0),
        "generation/reliability/exact_match_at_period": (0.0, 0.0),  # "J"
        "generation/reliability/contains_at_period": (0.0, 0.0),
        "generation/generalization/exact_match": (0.0, nan),
        "generation/generalization/contains": (0.5, nan),
        "generation/generalization/exact_match_at_period": (0.0, nan),
        "generation/generalization/contains_at_period": (0.0, nan),
        "generation/locality/unchanged": (0.5, nan),  # Jane Austen goes on differently in the same line
        "generation/locality/unchanged_at_period": (1.0, nan),
    }


def test_unchanged_is_letter_by_letter() -> None:
    locality = Question(0, "locality", "")
    assert generation.judge(locality, "rome", "Rome") == {"unchanged": 0.0, "unchanged_at_period": 0.0}
    assert generation.judge(locality, "", "") == {"unchanged": 1.0, "unchanged_at_period": 1.0}


def test_aliases_are_right_and_kinds_have_figures_of_their_own() -> None:
    fact = Fact(
        subject="Anna",
        prompt="{} lives in",
        target="New York City",
        aliases=("NYC",),
        portability=(
            Portability(prompt="Anna's country is", answers=("United States", "USA"), kind="Reasoning"),
            Portability(prompt="Ann lives in", answers=("New York City", "NYC"), kind="Subject_Aliasing"),
        ),
        locality=(Locality(prompt="Anna is", kind="Relation_Specificity"), Locality(prompt="The sun is")),
    )
    said = {
        "Anna lives in": "NYC",
        "Anna's country is": "the USA",
        "Ann lives in": "Rome",
        "Anna is": "a",
        "The sun is": "b",
    }
    questions = generation.as_it_is([fact], str)
    judged = [generation.judge(one, said[one.text], "a") for one in questions]
    found = {name: value for name, (value,) in spoken.by_kind("g", [fact], questions, judged).per_fact.items()}
    assert found["g/reliability/exact_match"] == 1
    assert found["g/portability/exact_match"] == 0.5
    assert found["g/portability/Reasoning/exact_match"] == 1
    assert found["g/portability/Subject_Aliasing/exact_match"] == 0
    assert found["g/locality/unchanged"] == 0.5
    assert found["g/locality/Relation_Specificity/unchanged"] == 1
