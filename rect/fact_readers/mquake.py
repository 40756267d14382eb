"""MQuAKE: all rewrites of an instance are edited together, and its multi-hop questions follow from all of them."""

from __future__ import annotations

from modelfolder.errors import InputError
from rect.fact_readers import values
from rect.fact_readers.counterfact import REWRITE, answer
from rect.fact_readers.values import Record
from rect.facts import Fact, Instance, Question


def read(record: Record, where: str) -> list[Fact]:
    """The facts of one instance, which each names. An edited hop's aliases are the fact's; a rewrite's question, if it
    has one, is the fact's rephrasing.
    """
    name = values.named(record, where, "case_id")
    rewrites = values.records(values.there(record, REWRITE, ""), REWRITE)
    if not rewrites:
        raise InputError(f"{REWRITE} is an empty list; at least one rewrite is wanted")
    hops = tuple(_hop(one) for one in values.records(record.get("new_single_hops") or [], "new_single_hops"))
    questions = values.texts(record, "questions")
    if not questions:
        raise InputError("questions is missing or empty; the multi-hop questions are wanted")
    right = (*values.answers(record, "new_answer"), *_aliases(record, "new_answer_alias"))
    facts: dict[tuple[str, str, str], Fact] = {}  # each edit once
    for fact in (_fact(rewrite, hops) for rewrite in rewrites):
        facts.setdefault(fact.edit, fact)
    instance = Instance(id=name, edits=len(facts), questions=tuple(questions), answers=right, hops=hops)
    return [
        fact.model_copy(update={"instances": (instance,), "id": f"mquake {name}-{i}"})
        for i, fact in enumerate(facts.values())
    ]


def _fact(rewrite: Record, hops: tuple[Question, ...]) -> Fact:
    edit = values.placed(rewrite, within=REWRITE)
    target = answer(rewrite, "target_new", REWRITE).strip()
    filled = edit["prompt"].replace("{}", edit["subject"])
    known = [hop.answers for hop in hops if hop.prompt == filled.rstrip() and target in hop.answers]
    return Fact(
        **edit,
        target=target,
        aliases=tuple(dict.fromkeys(other for right in known for other in right if other != target)),
        original=None if rewrite.get("target_true") is None else answer(rewrite, "target_true", REWRITE),
        rephrasings=values.rephrasings(rewrite, "question"),
    )


def _hop(hop: Record) -> Question:
    """A single hop: as a sentence to be completed where it has one, as the rewrites are, else as a question."""
    within = "new_single_hops"
    prompt = values.text(hop, "cloze" if hop.get("cloze") else "question", within)
    return Question(prompt=prompt, answers=(*values.answers(hop, "answer", within), *_aliases(hop, "answer_alias")))


def _aliases(record: Record, key: str) -> tuple[str, ...]:
    return values.answers(record, key) if record.get(key) else ()
