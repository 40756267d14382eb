"""RippleEdits (Cohen et al., TACL 2024): six criteria of what should follow from an edit, and of what should not.

An engine answers greedily, at most `BUDGET` tokens, each prompt as it is. A query is answered where what is said
contains each of its answers, by name or alias, as whole words. A test is passed where one of its queries is answered,
or all (AND); it counts where the unedited model answers all of its condition queries. Per fact and criterion:

- passed: share of the tests that count; none where none does;
- passed_where_edited: the same, of the facts whose edit prompt is answered with the target, as the release averages;
- counted: share of the tests that count.

The release looks for the answers in the prompt too, and for any part of a word.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from modelfolder import answers
from rect.evaluation import EditScores, mean
from rect.facts import Fact, RippleQuery
from rect.metrics.spoken import Chat, Question

BUDGET = 30
SHOWN = ("answered", "held")
enough = None  # all lines count
EDIT = "edit"
CONDITION = "condition"


@dataclasses.dataclass(frozen=True)
class OfTest(Question):
    """A query of a fact's test, or of its conditions.

    Attributes:
        test: its place among the fact's tests.
        wanted: answers of which all are wanted, each in one of its wordings.
    """

    test: int = 0
    wanted: tuple[tuple[str, ...], ...] = ()


def questions(facts: Sequence[Fact], chat: Chat) -> list[Question]:
    """The edit prompts of facts that have tests, and the queries and conditions of these."""
    found: list[Question] = []
    for index, fact in enumerate(facts):
        if fact.tests:
            found.append(Question(index, EDIT, fact.filled, (fact.target, *fact.aliases)))
        for number, test in enumerate(fact.tests):
            found += [_of_test(index, test.kind, query, number) for query in test.queries]
            found += [_of_test(index, CONDITION, query, number) for query in test.conditions]
    return found


def _of_test(fact: int, kind: str, query: RippleQuery, test: int) -> OfTest:
    right = tuple(name for names in query.answers for name in names)
    return OfTest(fact, kind, query.prompt, right, test, query.answers)


def judge(question: Question, said: str, before: str) -> dict[str, float]:
    """Whether a query is `answered` by the edited model, or a condition is `held` by the unedited one: 1 or 0."""
    if not isinstance(question, OfTest):
        return {"answered": float(answers.contains(said, question.right))}
    condition = question.kind == CONDITION
    text = before if condition else said
    right = all(answers.contains(text, names) for names in question.wanted)
    return {"held" if condition else "answered": float(right)}


def scores(
    name: str, facts: Sequence[Fact], questions: Sequence[Question], judged: Sequence[Mapping[str, float]]
) -> EditScores:
    """`<name>/<criterion>/passed`, `.../passed_where_edited` and `.../counted` per fact."""
    edited: dict[int, bool] = {}
    answered: dict[tuple[int, int], list[float]] = {}
    held: dict[tuple[int, int], bool] = {}
    for question, figures in zip(questions, judged, strict=True):
        if not isinstance(question, OfTest):
            edited[question.fact] = bool(figures["answered"])
            continue
        test = question.fact, question.test
        if question.kind == CONDITION:
            held[test] = held.get(test, True) and bool(figures["held"])
        else:
            answered.setdefault(test, []).append(figures["answered"])
    values: dict[str, tuple[float, ...]] = {}
    for kind in sorted({test.kind for fact in facts for test in fact.tests}):
        passed, counted = [], []
        for index, fact in enumerate(facts):
            of_kind = [(number, test) for number, test in enumerate(fact.tests) if test.kind == kind]
            those = [
                (min if test.every else max)(answered[index, number])
                for number, test in of_kind
                if held.get((index, number), True)
            ]
            passed.append(mean(those))
            counted.append(len(those) / len(of_kind) if of_kind else math.nan)
        took = [value if edited.get(index) else math.nan for index, value in enumerate(passed)]
        values[f"{name}/{kind}/passed"] = tuple(passed)
        values[f"{name}/{kind}/passed_where_edited"] = tuple(took)
        values[f"{name}/{kind}/counted"] = tuple(counted)
    return EditScores(values)
