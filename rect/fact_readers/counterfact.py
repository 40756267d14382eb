"""CounterFact in the form of ROME: requested_rewrite, paraphrase_prompts, neighborhood_prompts, generation_prompts."""

from __future__ import annotations

from rect.fact_readers.values import Record, mapping, named, path, placed, text, texts
from rect.facts import Fact, Locality

REWRITE = "requested_rewrite"


def read(record: Record, where: str) -> list[Fact]:
    """One fact; the answer of its neighborhood prompts is its own original one."""
    rewrite = mapping(record, REWRITE)
    true = None if rewrite.get("target_true") is None else answer(rewrite, "target_true", REWRITE)
    return [
        Fact(
            **placed(rewrite, within=REWRITE),
            target=answer(rewrite, "target_new", REWRITE),
            original=true,
            rephrasings=tuple(texts(record, "paraphrase_prompts")),
            locality=tuple(Locality(prompt=one, answer=true) for one in texts(record, "neighborhood_prompts")),
            openings=tuple(texts(record, "generation_prompts")),
            attribute=attribute(rewrite),
            id=f"counterfact {named(record, where, 'case_id')}",
        )
    ]


def attribute(rewrite: Record) -> str | None:
    """Relation and new target by their ids, "P27 Q224"; None where one is not told."""
    ids = rewrite.get("relation_id"), mapping(rewrite, "target_new", REWRITE).get("id")
    told = [one for one in ids if isinstance(one, str) and one.strip()]
    return " ".join(told) if len(told) == 2 else None


def answer(rewrite: Record, key: str, within: str) -> str:
    """An answer of a rewrite: the `str` of an object."""
    return text(mapping(rewrite, key, within), "str", path(within, key))
