"""One value of a record of facts at a time: what it is, or an InputError that says what stands in its place.

A key that has to be there is missing, or of another type, or empty: each is said as what it is. A key that may be left
out may be null too, as in tables. No value is ever taken for what it is not: a string is no list of its letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelfolder.errors import InputError
from modelfolder.values import shown
from rect.fact_readers.place import put
from rect.facts import Locality, Portability

Record = Mapping[str, Any]

HEADING = re.compile(r"\s*(reformulated|rephrased) (question|prompt)\s*:?\s*", re.IGNORECASE)
"""What a language model that was to rephrase a question has left in its place."""


def text(record: Record, key: str, within: str = "") -> str:
    """A string that has to be there."""
    value = there(record, key, within)
    if not isinstance(value, str):
        raise InputError(f"{path(within, key)} is {shown(value)}; a string is wanted")
    return value


def maybe(record: Record, key: str) -> str | None:
    """A string, or None where it is left out or null."""
    return None if record.get(key) is None else text(record, key)


def filled_in(record: Record, key: str) -> str | None:
    """A string that is not blank, or None where it is left out or null."""
    found = maybe(record, key)
    if found is not None and not found.strip():
        raise InputError(f"{key} is empty; leave the key out where there is none")
    return found


def texts(record: Record, key: str) -> list[str]:
    """A list of strings that are not blank; empty where it is left out or null."""
    values = record.get(key)
    if values is None:
        return []
    if not isinstance(values, list | tuple):
        raise InputError(f"{key} is {shown(values)}; a list of strings is wanted")
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{key}[{index}] is {shown(value)}; a string with a prompt is wanted")
    return list(values)


def one_or_more(record: Record, key: str) -> list[str]:
    """A string or a list of strings, none of them blank; empty where it is left out or null."""
    if isinstance(record.get(key), list | tuple):
        return texts(record, key)
    found = filled_in(record, key)
    return [] if found is None else [found]


def rephrasings(record: Record, *keys: str) -> tuple[str, ...]:
    """The same question in other words, of all keys, each once."""
    found = [(key, one) for key in keys for one in one_or_more(record, key)]
    for key, one in found:
        if HEADING.fullmatch(one):
            raise InputError(f"{key} is {one.strip()!r}: a heading without the question")
    return tuple(dict.fromkeys(one for _, one in found))


def answers(record: Record, key: str, within: str = "") -> tuple[str, ...]:
    """Acceptable answers: a string, a list of them, or a list of alias lists; each once, in their order."""
    where = path(within, key)
    found = tuple(dict.fromkeys(_answers(there(record, key, within), where)))
    if not found:
        raise InputError(f"{where} is an empty list; at least one answer is wanted")
    return found


def _answers(value: Any, where: str, depth: int = 2) -> Iterator[str]:
    if isinstance(value, list | tuple) and depth:
        for index, one in enumerate(value):
            yield from _answers(one, f"{where}[{index}]", depth - 1)
    elif isinstance(value, str) and value.strip():
        yield value.strip()
    else:
        raise InputError(f"{where} is {shown(value)}; a string with an answer, or a list of them, is wanted")


def placed(record: Record, prompt: str = "prompt", within: str = "") -> dict[str, Any]:
    """`prompt` and `subject` of a fact: the prompt has {} where the subject stands."""
    found, subject = put(text(record, prompt, within), text(record, "subject", within))
    return {"prompt": found, "subject": subject}


def edit(record: Record, target: str) -> dict[str, Any]:
    """`prompt`, `subject`, `target` and `aliases` of a fact: the first answer is its target, the others are aliases."""
    where = placed(record)
    first, *others = answers(record, target)
    return {**where, "target": first, "aliases": tuple(others)}


def records(value: Any, where: str) -> list[Record]:
    """One object or a list of objects."""
    found = list(value) if isinstance(value, list | tuple) else [value]
    for index, one in enumerate(found):
        if not isinstance(one, Mapping):
            at = f"{where}[{index}]" if isinstance(value, list | tuple) else where
            raise InputError(f"{at} is {shown(one)}; an object is wanted")
    return found


def asked(record: Record, within: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(prompt, answers) of an object with `prompt` and `ground_truth`.

    Both may be lists: several prompts with as many answers are pairs, with one answer they share it.
    """
    prompts = there(record, "prompt", within)
    if isinstance(prompts, str):
        yield text(record, "prompt", within), answers(record, "ground_truth", within)
        return
    wanted = texts({path(within, "prompt"): prompts}, path(within, "prompt"))
    truths = there(record, "ground_truth", within)
    if len(wanted) == 1 or isinstance(truths, str):
        shared = answers(record, "ground_truth", within)
        yield from ((prompt, shared) for prompt in wanted)
        return
    if not isinstance(truths, list | tuple) or len(truths) != len(wanted):
        raise InputError(
            f"{path(within, 'ground_truth')} is {shown(truths)}; one answer for each of {len(wanted)} prompts is wanted"
        )
    for index, (prompt, truth) in enumerate(zip(wanted, truths, strict=True)):
        name = f"{path(within, 'ground_truth')}[{index}]"
        yield prompt, answers({name: truth}, name)


def by_kind(record: Record, key: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(kind, prompt, answers) of an object of kinds, each with one object of `asked` or a list of them."""
    kinds = record.get(key)
    if kinds is None:
        return
    if not isinstance(kinds, Mapping):
        raise InputError(f"{key} is {shown(kinds)}; an object of kinds is wanted")
    for kind, value in kinds.items():
        if value is None:
            continue
        where = f"{key}.{kind}"
        for one in records(value, where):
            yield from ((kind, *pair) for pair in asked(one, where))


def portability(record: Record, key: str) -> tuple[Portability, ...]:
    """What follows from an edit, by kind."""
    return tuple(Portability(prompt=prompt, answers=right, kind=kind) for kind, prompt, right in by_kind(record, key))


def asked_anew(record: Record) -> tuple[Portability, ...]:
    """What follows from an edit, by kind, or as a `New Question` with its `New Answer` (EasyEdit)."""
    asked = record.get("portability")
    if isinstance(asked, Mapping) and "New Question" in asked:
        prompt, right = text(asked, "New Question", "portability"), answers(asked, "New Answer", "portability")
        return (Portability(prompt=prompt, answers=right, kind="Reasoning"),)
    return portability(record, "portability")


def locality(record: Record, key: str) -> tuple[Locality, ...]:
    """Prompts out of the edit's scope, by kind."""
    return tuple(
        Locality(prompt=prompt, answer=right[0], aliases=right[1:], kind=kind)
        for kind, prompt, right in by_kind(record, key)
    )


def pairs(record: Record, prompt: str, answer: str) -> tuple[tuple[str, str | None], ...]:
    """Prompts with their answers under two keys, each one string or a list; all answers or none may be left out."""
    prompts, right = one_or_more(record, prompt), one_or_more(record, answer)
    if right and len(right) != len(prompts):
        raise InputError(f"{answer} has {len(right)} answers, {prompt} {len(prompts)} prompts")
    return tuple(zip(prompts, right, strict=True)) if right else tuple((one, None) for one in prompts)


def mapping(record: Record, key: str, within: str = "") -> Record:
    """An object that has to be there."""
    value = there(record, key, within)
    if isinstance(value, list) and len(value) > 1:
        raise InputError(f"{path(within, key)} is {shown(value)}, several in one record; one object is wanted")
    if not isinstance(value, Mapping):
        raise InputError(f"{path(within, key)} is {shown(value)}; an object is wanted")
    return value


def named(record: Record, where: str, *keys: str) -> str:
    """The name of a record: the first of the keys that it has, a whole number or a string; else where it stands."""
    for key in keys:
        value = record.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise InputError(f"{key} is {shown(value)}; a whole number or a string is wanted")
        return str(value)
    return where


def there(record: Record, key: str, within: str) -> Any:
    if key not in record:
        raise InputError(f"{path(within, key)} is missing")
    return record[key]


def path(within: str, key: str) -> str:
    return f"{within}.{key}" if within else key
