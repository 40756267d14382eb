"""Facts: what is to be edited, and the prompts that show whether it worked.

A prompt has `{}` where the subject stands. It is filled by replacement, so other braces in it mean themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any

import pydantic

from modelfolder.errors import InputError, closest
from modelfolder.values import shown
from rect.joint import joint
from rect.order import permutation


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a character that is not valid Unicode (a lone surrogate)") from None
    return text


def _filled_in(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text.rstrip()


Valid = Annotated[str, pydantic.AfterValidator(_unicode)]
Text = Annotated[Valid, pydantic.AfterValidator(_filled_in)]
Answer = Annotated[Valid, pydantic.AfterValidator(lambda text: text.strip())]
Filled = Annotated[Answer, pydantic.AfterValidator(_filled_in)]


class _Record(pydantic.BaseModel):
    """Frozen; bad values raise InputError in one line."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except pydantic.ValidationError as error:
            raise InputError(_reason(error)) from None


WANTED = {
    "string_type": "a string",
    "tuple_type": "a list",
    "model_type": "an object with the keys {}",
    "model_attributes_type": "an object with the keys {}",
}
KEYS = {
    "locality": "prompt and answer",
    "portability": "prompt and answers",
    "instances": "id, edits and questions",
    "tests": "kind and queries",
}


def _reason(error: pydantic.ValidationError) -> str:
    """What is wrong, with its key, in one line: an unknown key if there is one, else the first thing."""
    found = error.errors()
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).removeprefix(".")
    if first["type"] == "extra_forbidden":
        known = {key for one in (Fact, Locality, Portability, Instance, RippleTest) for key in one.model_fields}
        close = closest(first["loc"][-1], sorted(known))
        key = key if key.isprintable() else ascii(key)
        return f"{key}: unknown key; {close}".rstrip("; ")
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] == "value_error":
        cause = first["ctx"]["error"]
        return f"{key}{'.' if isinstance(cause, InputError) else ' '}{cause}"
    if first["type"] in WANTED:
        wanted = WANTED[first["type"]].format(KEYS.get(str(first["loc"][0]), "prompt and answers"))
        return f"{key} is {shown(first['input'])}; {wanted} is wanted"
    return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}"


class Locality(_Record):
    """A prompt out of the edit's scope, which the edited model must answer as before.

    Attributes:
        prompt: the full text.
        answer: its right answer, as far as known.
        aliases: other wordings of that answer.
        kind: what it asks about, as KnowEdit calls it: "Relation_Specificity", "Forgetfulness".
    """

    prompt: Text
    answer: Answer | None = None
    aliases: tuple[Filled, ...] = ()
    kind: Valid | None = None


class Question(_Record):
    """A prompt with its acceptable answers.

    Attributes:
        prompt: the full text.
        answers: any of them is right; the first one is asked for under teacher forcing.
    """

    prompt: Text
    answers: tuple[Filled, ...]

    @pydantic.field_validator("answers")
    @classmethod
    def _some(cls, answers: tuple[str, ...]) -> tuple[str, ...]:
        if not answers:
            raise ValueError("is an empty list; at least one answer is wanted")
        return answers


class Portability(Question):
    """What follows from an edit, and should be answered accordingly.

    Attributes:
        kind: as KnowEdit calls it: "Reasoning", "Subject_Aliasing", "Logical_Generalization".
    """

    kind: Valid | None = None


class Instance(_Record):
    """Several facts that are edited together, and what follows from all of them (MQuAKE).

    Attributes:
        id: its name; facts that name the same instance belong together.
        edits: how many facts it has.
        questions: one multi-hop question in several wordings; it is answered if one of them is.
        answers: any of them is right after the edits.
        hops: the single facts of the chain after the edits, edited ones among them.
    """

    id: Valid
    edits: pydantic.PositiveInt
    questions: tuple[Text, ...]
    answers: tuple[Filled, ...]
    hops: tuple[Question, ...] = ()


class RippleQuery(_Record):
    """A prompt, and answers of which all are wanted, each in one of its wordings."""

    prompt: Text
    answers: tuple[tuple[Filled, ...], ...]

    @pydantic.field_validator("answers")
    @classmethod
    def _some(cls, answers: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        if not answers or not all(answers):
            raise ValueError("has no answer, or one that is a single letter")
        return answers


class RippleTest(_Record):
    """A test of RippleEdits: passed if one of its queries is answered, or every one.

    Attributes:
        kind: its criterion, "Logical_Generalization".
        queries: what is asked after the edit.
        every: all of them must be answered.
        conditions: what the unedited model must answer for the test to count.
    """

    kind: Valid
    queries: tuple[RippleQuery, ...]
    every: bool = False
    conditions: tuple[RippleQuery, ...] = ()


class Fact(_Record):
    """One fact to be edited. White space around answers and at the end of prompts is removed.

    Attributes:
        subject: what the fact is about, "France".
        prompt: "The capital of {} is"; `{}` stands for the subject.
        target: the new answer, "Rome".
        original: the answer before editing, "Paris"; without it the fact has no preference score.
        rephrasings: the same question in other words, full sentences with the subject filled in.
        locality: prompts out of scope.
        id: a name for it in tables.
        aliases: other wordings of the target that are as right.
        portability: what follows from the edit.
        instances: what it is edited for together with other facts.
        tests: those of RippleEdits.
        openings: beginnings of texts about the subject, which a metric has continued; no part of the digest.
        attribute: relation and target by their ids in Wikidata, "P27 Q224", by which a metric finds texts about what
            has it; no part of the digest.
        space: whether a space stands between its prompts and its target or original answer; None: as the text has it
            (`rect.joint`).
    """

    subject: Answer
    prompt: Text
    target: Answer
    original: Answer | None = None
    rephrasings: tuple[Text, ...] = ()
    locality: tuple[Locality, ...] = ()
    id: Valid | None = None
    aliases: tuple[Filled, ...] = ()
    portability: tuple[Portability, ...] = ()
    instances: tuple[Instance, ...] = ()
    tests: tuple[RippleTest, ...] = ()
    openings: tuple[Text, ...] = ()
    attribute: Filled | None = None
    space: bool | None = None
    _where: str = pydantic.PrivateAttr("")

    def __eq__(self, other: object) -> bool:
        """Where a fact was read makes it no other one."""
        return isinstance(other, Fact) and self.__dict__ == other.__dict__

    @pydantic.field_validator("subject", "target")
    @classmethod
    def _not_empty(cls, text: str) -> str:
        return _filled_in(text)

    @pydantic.field_validator("prompt")
    @classmethod
    def _has_a_place(cls, text: str) -> str:
        if "{}" not in text:
            raise ValueError(f"{text!r} has no {{}} where the subject stands")
        return text

    @pydantic.field_validator("original")
    @classmethod
    def _none_if_empty(cls, text: str | None) -> str | None:
        return text or None

    @property
    def filled(self) -> str:
        """The prompt with the subject in its place."""
        return self.prompt.replace("{}", self.subject)

    @property
    def edit(self) -> tuple[str, str, str]:
        """What is edited: subject, prompt, target. Records that share it are one edit, whatever their ids."""
        return self.subject, self.prompt, self.target

    @property
    def shown(self) -> str:
        """What a message calls it: file and line that it was read from, else its prompt."""
        return self._where or f"fact {self.filled[:80]!r}"

    def read_from(self, where: str) -> Fact:
        """Note file and line."""
        self._where = where
        return self


def units(facts: Sequence[Fact]) -> list[tuple[int, ...]]:
    """Indices of facts that are drawn together: those of one instance, else each by itself; in their order."""
    found: dict[str | int, list[int]] = {}
    for index, fact in enumerate(facts):
        found.setdefault(fact.instances[0].id if fact.instances else index, []).append(index)
    return [tuple(unit) for unit in found.values()]


def draw(facts: Sequence[Fact], seed: int, n: int, without: Collection[int] = ()) -> list[Fact]:
    """The first n facts of a seeded permutation that does not depend on n; where the set is smaller it is repeated.

    Facts of an instance (`units`) come one behind the other.

    Args:
        without: indices of facts that are passed over, with their instances: the next ones take their place.
    """
    order = [fact for unit in _order(facts, seed, without) for fact in unit]
    return [order[i % len(order)] for i in range(n)]


def draw_batches(
    facts: Sequence[Fact], seed: int, n: int, size: int, without: Collection[int] = ()
) -> list[tuple[Fact, ...]]:
    """The first n batches of `size` units each: of `draw`, no instance in two batches."""
    order = _order(facts, seed, without)
    drawn = [order[i % len(order)] for i in range(n * size)]
    return [tuple(fact for unit in drawn[i * size : (i + 1) * size] for fact in unit) for i in range(n)]


def _order(facts: Sequence[Fact], seed: int, without: Collection[int]) -> list[list[Fact]]:
    found = units(facts)
    drawn = (found[index] for index in permutation(len(found), seed))
    order = [[facts[index] for index in unit] for unit in drawn if not any(index in without for index in unit)]
    if not order:
        raise InputError("the edit set is empty")
    return order


JOINED = ("rephrasings", "locality", "aliases", "portability", "instances", "tests", "openings")
"""What an edit has of all its records."""

ASIDE = {"id", "openings", "attribute", "space"}
"""Keys that change no edit, and no figure but of metrics that have them in their own ids; `_joints` tells spaces."""

LATER = ("aliases", "portability", "instances", "tests", "kind")
"""Keys that came when there were ids: where they say nothing they are no part of one."""


def distinct(facts: Iterable[Fact]) -> list[Fact]:
    """Each edit once, in the order of its first record, with the prompts and aliases of all its records.

    An edit that was made twice, or stands in a file twice, is one fact: what is averaged over facts counts it once.
    """
    records: dict[tuple[str, str, str], list[Fact]] = {}
    for fact in facts:
        records.setdefault(fact.edit, []).append(fact)
    return [_together(found) for found in records.values()]


def _together(records: Sequence[Fact]) -> Fact:
    """The first of several records of one edit, with the prompts of all, each once."""
    prompts: dict[str, tuple[Any, ...]] = {
        key: tuple(dict.fromkeys(prompt for fact in records for prompt in getattr(fact, key))) for key in JOINED
    }
    return records[0].model_copy(update=prompts)


def digest(facts: Sequence[Fact]) -> str:
    """SHA-256 of the facts as canonical JSON, but for `ASIDE`."""
    records = [_said(fact.model_dump(exclude=ASIDE)) | _joints(fact) for fact in facts]
    text = json.dumps(records, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _said(record: dict[str, Any]) -> dict[str, Any]:
    """A fact without those of `LATER` that are empty, in its locality prompts too."""
    locality = [{key: value for key, value in one.items() if value or key not in LATER} for one in record["locality"]]
    return {key: value for key, value in record.items() if value or key not in LATER} | {"locality": locality}


def _joints(fact: Fact) -> dict[str, str]:
    """Where answers follow without a space, as they once did nowhere: {"joints": what stands there}; {} if nowhere."""
    prompts, answers = (fact.filled, *fact.rephrasings), [one for one in (fact.target, fact.original) if one]
    found = [joint(prompt, answer, fact.space) for prompt in prompts for answer in answers]
    found += [joint(one.prompt, one.answer) for one in fact.locality if one.answer]
    return {} if all(found) else {"joints": ",".join(found)}
