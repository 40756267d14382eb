"""WikiBigEdit: update (the question), ans, subject, rephrase, personas, loc with loc_ans, mhop with mhop_ans."""

from __future__ import annotations

from rect.fact_readers import values
from rect.fact_readers.values import Record
from rect.facts import Fact, Locality, Portability


def read(record: Record, where: str) -> list[Fact]:
    """One fact; the question as a persona would put it is a rephrasing, the one of several hops is portability."""
    edit = values.placed(record, "update")
    loc, mhop = values.filled_in(record, "loc"), values.filled_in(record, "mhop")
    asked = (
        ()
        if mhop is None
        else (Portability(prompt=mhop, answers=values.answers(record, "mhop_ans"), kind="Multi_Hop"),)
    )
    return [
        Fact(
            **edit,
            target=values.text(record, "ans"),
            rephrasings=values.rephrasings(record, "rephrase", "personas"),
            locality=() if loc is None else (Locality(prompt=loc, answer=values.maybe(record, "loc_ans")),),
            portability=asked,
            id=f"wikibigedit {values.named(record, where, 'case_id', 'id')}",
        )
    ]
