"""Which public format a record of facts looks like, told by its keys: for the line that says why it cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A format as it is told from others.

    Attributes:
        name: as the field calls it.
        format: the value of `format` that reads it; "" where none does.
        all_of: keys that are all there.
        one_of: keys of which one is there, if any are named.
    """

    name: str
    format: str
    all_of: frozenset[str]
    one_of: frozenset[str] = frozenset()


def _kind(name: str, format: str, all_of: str, one_of: str = "") -> Kind:
    return Kind(name, format, frozenset(all_of.split()), frozenset(one_of.split()))


KINDS = (  # the first that fits: those with more of their own come first
    _kind("RippleEdits", "", "edit", "example_type Relation_Specificity Logical_Generalization Subject_Aliasing"),
    _kind("MQuAKE", "", "requested_rewrite", "questions new_answer single_hops new_single_hops"),
    _kind("CounterFact", "counterfact", "requested_rewrite"),
    _kind("KnowEdit", "", "prompt", "portability"),
    _kind("ZsRE in MEND's form", "zsre", "src alt"),
    _kind("WikiBigEdit", "", "update ans"),
    _kind("QAEdit", "", "prompt target rephrase"),
    _kind("EasyEdit's flat form", "", "prompt target_new"),
    _kind("UnKE", "", "question answer", "para_question sub_question"),
    _kind("ROME's known facts", "", "subject attribute", "known_id template prediction"),
    _kind("this project's own format", "facts", "subject prompt target"),
)


def looks_like(record: Any) -> Kind | None:
    """The format whose keys a record has. One with several rewrites under `requested_rewrite` is MQuAKE's."""
    if not isinstance(record, Mapping):
        return None
    if isinstance(record.get("requested_rewrite"), list):
        return next(kind for kind in KINDS if kind.name == "MQuAKE")
    keys = record.keys()
    return next((k for k in KINDS if k.all_of <= keys and (not k.one_of or k.one_of & keys)), None)


def hint(record: Any, format: str) -> str:
    """The tail of an error message where a record looks like another format than the one that was asked for."""
    kind = looks_like(record)
    if kind is None or kind.format == format:
        return ""
    return f"; it looks like {kind.name}, {f'format {kind.format}' if kind.format else 'which is not read here'}"
