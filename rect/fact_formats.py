"""What the records of each format of facts mean: a record becomes a `Fact`, or an InputError says what is wrong in it.

A key that has to be there is missing, or of another type, or empty: each is said as what it is. A key that may be left
out may be null too, as in tables. No value is ever taken for what it is not: a string is no list of its letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from modelfolder.errors import InputError, nearest
from modelfolder.values import shown
from rect.facts import Fact, Locality

Record = Mapping[str, Any]
Converter = Callable[[Record, str], Fact]


def own(record: Record, where: str) -> Fact:
    """The project's own: keys as `Fact`; the prompt holds {} or the subject itself."""
    data = dict(record)
    prompt, subject = data.get("prompt"), data.get("subject")
    if isinstance(prompt, str) and isinstance(subject, str) and subject.strip():
        data["prompt"] = _with_place(prompt, subject.strip())
    return Fact(**data)


def zsre(record: Record, where: str) -> Fact:
    """ZsRE in the form of MEND: src, rephrase, alt (the new answer), pred (the old one), loc, loc_ans."""
    subject = _text(record, "subject")
    rephrase, loc = _filled_in(record, "rephrase"), _filled_in(record, "loc")
    answer = _maybe(record, "loc_ans")
    return Fact(
        subject=subject,
        prompt=_with_place(_text(record, "src"), subject),
        target=_text(record, "alt"),
        original=_maybe(record, "pred"),
        rephrasings=() if rephrase is None else (rephrase,),
        locality=() if loc is None else (Locality(prompt=loc, answer=answer),),
        id=f"zsre {where}",
    )


def counterfact(record: Record, where: str) -> Fact:
    """CounterFact in the form of ROME: requested_rewrite, paraphrase_prompts, neighborhood_prompts."""
    within = "requested_rewrite"
    rewrite = _object(record, within)
    subject = _text(rewrite, "subject", within)
    true = None if rewrite.get("target_true") is None else _answer(rewrite, "target_true")
    return Fact(
        subject=subject,
        prompt=_with_place(_text(rewrite, "prompt", within), subject),
        target=_answer(rewrite, "target_new"),
        original=true,
        rephrasings=tuple(_texts(record, "paraphrase_prompts")),
        locality=tuple(Locality(prompt=text, answer=true) for text in _texts(record, "neighborhood_prompts")),
        id=f"counterfact {_case(record, where)}",
    )


FORMATS: dict[str, Converter] = {"facts": own, "zsre": zsre, "counterfact": counterfact}


def converter(format: str) -> Converter:
    """What reads a format. Raises InputError that names the nearest known one."""
    if format not in FORMATS:
        raise InputError(f"format {format!r} is not known; {nearest(format, FORMATS)}")
    return FORMATS[format]


# One value of a record


def _text(record: Record, key: str, within: str = "") -> str:
    """A string that has to be there."""
    value = _there(record, key, within)
    if not isinstance(value, str):
        raise InputError(f"{_path(within, key)} is {shown(value)}; a string is wanted")
    return value


def _maybe(record: Record, key: str) -> str | None:
    """A string, or None where it is left out or null."""
    return None if record.get(key) is None else _text(record, key)


def _filled_in(record: Record, key: str) -> str | None:
    """A string that is not blank, or None where it is left out or null."""
    text = _maybe(record, key)
    if text is not None and not text.strip():
        raise InputError(f"{key} is empty; leave the key out where there is none")
    return text


def _texts(record: Record, key: str) -> list[str]:
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


def _object(record: Record, key: str, within: str = "") -> Record:
    value = _there(record, key, within)
    if isinstance(value, list) and len(value) > 1:
        raise InputError(f"{_path(within, key)} is {shown(value)}, several in one record; one object is wanted")
    if not isinstance(value, Mapping):
        raise InputError(f"{_path(within, key)} is {shown(value)}; an object is wanted")
    return value


def _answer(rewrite: Record, key: str) -> str:
    within = "requested_rewrite"
    return _text(_object(rewrite, key, within), "str", _path(within, key))


def _case(record: Record, where: str) -> str:
    """The name of a record: its case_id, a whole number or a string; where it stands if it has none."""
    value = record.get("case_id")
    if value is None:
        return where
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"case_id is {shown(value)}; a whole number or a string is wanted")
    return str(value)


def _there(record: Record, key: str, within: str) -> Any:
    if key not in record:
        raise InputError(f"{_path(within, key)} is missing")
    return record[key]


def _path(within: str, key: str) -> str:
    return f"{within}.{key}" if within else key


def _with_place(prompt: str, subject: str) -> str:
    """The prompt with {} where the subject stands: at its first occurrence as a word, else at its first."""
    if "{}" in prompt or not subject:
        return prompt
    found = re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", prompt) or re.search(re.escape(subject), prompt)
    if found is None:
        raise InputError(f"subject not in prompt: {subject!r} does not occur in {prompt!r}, nor does {{}}")
    return prompt[: found.start()] + "{}" + prompt[found.end() :]
