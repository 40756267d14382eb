"""QAEdit: prompt, target, subject, rephrase, locality as a list of loc with loc_ans."""

from __future__ import annotations

from rect.fact_readers import values
from rect.fact_readers.values import Record
from rect.facts import Fact, Locality


def read(record: Record, where: str) -> list[Fact]:
    """One fact. QAEdit edits what a model answered wrongly: no original answer is known."""
    return [
        Fact(
            **values.edit(record, "target"),
            rephrasings=values.rephrasings(record, "rephrase"),
            locality=tuple(_locality(record)),
            id=f"qaedit {values.named(record, where, 'id')}",
        )
    ]


def _locality(record: Record) -> list[Locality]:
    if record.get("locality") is None:
        return []
    found = []
    for one in values.records(record["locality"], "locality"):
        right = values.answers(one, "loc_ans", "locality")
        found.append(Locality(prompt=values.text(one, "loc", "locality"), answer=right[0], aliases=right[1:]))
    return found
