"""KnowEdit's recent, counterfact and zsre: portability and locality by kind; answers as text, list or alias lists."""

from __future__ import annotations

from rect.fact_readers import values
from rect.fact_readers.values import Record
from rect.facts import Fact


def read(record: Record, where: str) -> list[Fact]:
    """One fact."""
    return [
        Fact(
            **values.edit(record, "target_new"),
            original=values.answers(record, "ground_truth")[0] if record.get("ground_truth") else None,
            rephrasings=values.rephrasings(record, "rephrase_prompt", "rephrase"),
            locality=values.locality(record, "locality"),
            portability=values.portability(record, "portability"),
            id=f"knowedit {values.named(record, where, 'case_id', 'id')}",
        )
    ]
