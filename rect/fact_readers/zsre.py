"""ZsRE in the form of MEND: src, rephrase, alt (the new answer), pred (the old one), loc, loc_ans; portability."""

from __future__ import annotations

from rect.fact_readers.values import Record, asked_anew, filled_in, maybe, placed, text
from rect.facts import Fact, Locality


def read(record: Record, where: str) -> list[Fact]:
    """One fact."""
    rephrase, loc = filled_in(record, "rephrase"), filled_in(record, "loc")
    answer = maybe(record, "loc_ans")
    return [
        Fact(
            **placed(record, "src"),
            target=text(record, "alt"),
            original=maybe(record, "pred"),
            rephrasings=() if rephrase is None else (rephrase,),
            locality=() if loc is None else (Locality(prompt=loc, answer=answer),),
            portability=asked_anew(record),
            id=f"zsre {where}",
        )
    ]
