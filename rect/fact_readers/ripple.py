"""RippleEdits: an edit, and six criteria with tests of what should follow from it and what should not.

The files name subjects and answers by Wikidata ids alone: both are taken from the edit's sentence, whose wording
follows from its relation ("The name of the mother of S is T.").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelfolder.errors import InputError
from modelfolder.values import shown
from rect.fact_readers import values
from rect.fact_readers.values import Record
from rect.facts import Fact, RippleQuery, RippleTest

CRITERIA = (
    "Logical_Generalization",
    "Compositionality_I",
    "Compositionality_II",
    "Subject_Aliasing",
    "Forgetfulness",
    "Relation_Specificity",
)
SPELLED = {"Relation_Specificity": "Relation_Specifity"}  # as the data set's own README has it

ODD = {  # sentences that are not "The (name of the) <relation> of {} is"
    "NUMBER_OF_CHILDREN": "The number of children {} has is",
    "SIBLING": "The names of the siblings of {} are",
    "SEX_OR_GENDER": "The gender of {} is",
    "COUNTRY": "The name of the country which {} is associated with is",
    "POSITION_HELD": "The name of the position held by {} is",
    "MEMBER_OF_SPORTS_TEAM": "The name of the sports team which {} is a member of is",
    "LEAGUE": "The name of the league which {} plays in is",
    "NATIVE_LANGUAGE": "The mother tongue of {} is",
    "AWARD_RECEIVED": "The name of the award {} won is",
    "FOLLOWS": "{} follows",
    "FOLLOWED_BY": "{} is followed by",
    "ETHNIC_GROUP": "The name of the ethnic group which {} is associated with is",
    "RELIGION": "The name of the religion which {} is associated with is",
    "CONTINENT": "The name of the continent which {} is part of is",
    "CAPITAL": "The name of the capital city of {} is",
    "CURRENCY": "The name of the currency in {} is",
    "LIKELY_ANTHEM": "The name of the anthem that is most likely to be performed in {} is",
    "CAPITAL_OF": "The name of the country which {} is the capital of is",
    "CAST_MEMBER": "The names of the cast members of {} are",
}


def read(record: Record, where: str) -> list[Fact]:
    """One fact with its tests."""
    edit = values.mapping(record, "edit")
    before = edit.get("previous_fact") or edit.get("original_fact")
    if before is not None and not isinstance(before, Mapping):
        raise InputError(f"edit.previous_fact is {shown(before)}; an object is wanted")
    sentence = values.text(edit, "prompt", "edit")
    old = None if before is None else values.text(before, "prompt", "edit.previous_fact")
    prompt, subject, target = _split(sentence, values.text(edit, "relation", "edit"), old)
    tests = tuple(test for kind in CRITERIA for test in _tests(record, kind))
    return [
        Fact(
            subject=subject,
            prompt=prompt,
            target=target,
            original=None if old is None else old.strip().removesuffix(".")[len(prompt.replace("{}", subject)) :],
            tests=tests,
            id=f"ripple {values.named(record, where, 'id')}",
        )
    ]


def _split(sentence: str, relation: str, old: str | None) -> tuple[str, str, str]:
    """(prompt with {}, subject, target) of an edit's sentence."""
    said = sentence.strip().removesuffix(".")
    words = relation.lower().replace("_", " ")
    stems = [ODD[relation]] if relation in ODD else [f"The name of the {words} of {{}} is", f"The {words} of {{}} is"]
    found = []
    for stem in stems:
        head, tail = stem.split("{}")
        ends = [match.start() for match in re.finditer(f"(?={re.escape(tail)} )", said)]
        found += [(stem, said[len(head) : end], said[end + len(tail) + 1 :]) for end in ends if said.startswith(head)]
    found = [(stem, subject, target) for stem, subject, target in found if subject.strip() and target.strip()]
    if old is not None:  # the other answer to the same question: all that both begin with is the question
        found = [one for one in found if old.startswith(f"{one[0].replace('{}', one[1])} ")][-1:]
    if not found:
        raise InputError(
            f"edit.prompt {sentence[:80]!r} does not read {stems[0]!r}, as its relation {relation!r} wants"
        )
    if len(found) > 1:
        raise InputError(f"edit.prompt {sentence[:80]!r} can be read in {len(found)} ways: which is the subject?")
    return found[0]


def _tests(record: Record, kind: str) -> Iterator[RippleTest]:
    key = kind if kind in record else SPELLED.get(kind, kind)
    for index, test in enumerate(values.records(record.get(key) or [], key)):
        where = f"{key}[{index}]"
        how = test.get("test_condition", "OR")
        if how not in ("OR", "AND"):
            raise InputError(f"{where}.test_condition is {shown(how)}; OR or AND is wanted")
        yield RippleTest(
            kind=kind,
            queries=_queries(values.there(test, "test_queries", where), f"{where}.test_queries"),
            every=how == "AND",
            conditions=_queries(test.get("condition_queries") or [], f"{where}.condition_queries"),
        )


def _queries(found: Any, where: str) -> tuple[RippleQuery, ...]:
    return tuple(_query(one, f"{where}[{i}]") for i, one in enumerate(values.records(found, where)))


def _query(query: Record, where: str) -> RippleQuery:
    prompt = values.text(query, "prompt" if query.get("prompt") is not None else "phrase", where)
    named = values.records(values.there(query, "answers", where), f"{where}.answers")
    return RippleQuery(
        prompt=prompt, answers=tuple(_names(one, f"{where}.answers[{i}]") for i, one in enumerate(named))
    )


def _names(answer: Record, where: str) -> tuple[str, ...]:
    """The answer and its aliases; one letter stands in any text, and is left out, as in the release."""
    found = [values.text(answer, "value", where), *values.texts(answer, "aliases")]
    return tuple(dict.fromkeys(one.strip() for one in found if len(one.strip()) > 1 or one.strip().isdigit()))
