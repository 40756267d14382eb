"""EasyEdit's flat requests, as its CounterFact, WikiBigEdit and others are passed around.

prompt, subject, target_new, ground_truth (the old answer), rephrase_prompt, locality_prompt with locality_ground_truth,
portability_prompt with portability_ground_truth: one string each or lists. `locality_inputs` and `portability_inputs`
are objects of kinds, `portability` is one, or a New Question with its New Answer.
"""

from __future__ import annotations

from modelfolder.errors import InputError
from rect.fact_readers import values
from rect.fact_readers.values import Record
from rect.facts import Fact, Locality, Portability


def read(record: Record, where: str) -> list[Fact]:
    """One fact."""
    edit = values.edit(record, "target_new")
    original = values.answers(record, "ground_truth")[0] if record.get("ground_truth") else None
    asked = values.pairs(record, "locality_prompt", "locality_ground_truth")
    return [
        Fact(
            **edit,
            original=original,
            rephrasings=values.rephrasings(record, "rephrase_prompt"),
            locality=(
                *(Locality(prompt=text, answer=right) for text, right in asked),
                *values.locality(record, "locality_inputs"),
                *values.locality(record, "locality"),
            ),
            portability=_portability(record),
            id=f"easyedit {values.named(record, where, 'case_id', 'id')}",
        )
    ]


def _portability(record: Record) -> tuple[Portability, ...]:
    found = []
    for text, answer in values.pairs(record, "portability_prompt", "portability_ground_truth"):
        if answer is None:
            raise InputError("portability_ground_truth is missing")
        found.append(Portability(prompt=text, answers=(answer,)))
    found += values.portability(record, "portability_inputs")
    return (*found, *values.asked_anew(record))
