"""MQuAKE (Zhong et al., EMNLP 2023): whether facts that were edited together are recalled, and what follows from them.

An engine answers greedily, at most `BUDGET` tokens, each prompt as it is; the first line that is not blank counts. An
answer is right where it contains the right one or an alias as whole words.

- edit-wise: the edit prompt of a fact;
- instance-wise: all single hops of an instance after its edits, edited ones among them;
- multi-hop: one of an instance's questions.

An instance counts once all of its facts have been edited. The release puts examples before the questions; here there
are none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from modelfolder import answers
from rect.evaluation import EditScores, figure
from rect.facts import Fact, Instance
from rect.metrics.generation import by_itself
from rect.metrics.spoken import Chat, Question, has_line

BUDGET = 50
SHOWN = ("contains",)
enough = has_line
EDIT_WISE, INSTANCE_WISE, MULTI_HOP = "edit_wise", "instance_wise", "multi_hop"


@dataclasses.dataclass(frozen=True)
class OfInstance(Question):
    """A question of an instance, by its id."""

    instance: str = ""


def questions(facts: Sequence[Fact], chat: Chat) -> list[Question]:
    """The edit prompts of all facts, and the questions of those instances that are edited whole."""
    found = []
    whole = {one.id for one in _whole(facts)}
    asked: set[str] = set()
    for index, fact in enumerate(facts):
        found.append(Question(index, EDIT_WISE, fact.filled, (fact.target, *fact.aliases)))
        for one in fact.instances:
            if one.id in whole and one.id not in asked:
                asked.add(one.id)
                found += [OfInstance(index, INSTANCE_WISE, hop.prompt, hop.answers, one.id) for hop in one.hops]
                found += [OfInstance(index, MULTI_HOP, text, one.answers, one.id) for text in one.questions]
    return found


def _whole(facts: Iterable[Fact]) -> list[Instance]:
    """Instances of which all facts are there."""
    there: dict[Instance, int] = {}
    for fact in facts:
        for one in fact.instances:
            there[one] = there.get(one, 0) + 1
    return [one for one, count in there.items() if count >= one.edits]


def judge(question: Question, said: str, before: str) -> dict[str, float]:
    """Whether what was said contains a right answer, 1 or 0."""
    return {"contains": float(answers.contains(by_itself(said), question.right))}


def scores(
    name: str, facts: Sequence[Fact], questions: Sequence[Question], judged: Sequence[Mapping[str, float]]
) -> EditScores:
    """`<name>/edit_wise` per fact; `<name>/instance_wise` and `<name>/multi_hop` over instances."""
    right = [figures["contains"] for figures in judged]
    edits = [value for question, value in zip(questions, right, strict=True) if question.kind == EDIT_WISE]
    over_all = {}
    for kind, together in ((INSTANCE_WISE, min), (MULTI_HOP, max)):
        of_instance: dict[str, list[float]] = {}
        for question, value in zip(questions, right, strict=True):
            if isinstance(question, OfInstance) and question.kind == kind:
                of_instance.setdefault(question.instance, []).append(value)
        if of_instance:
            over_all[f"{name}/{kind}"] = figure([together(values) for values in of_instance.values()])
    return EditScores({f"{name}/{EDIT_WISE}": tuple(edits)}, over_all)
