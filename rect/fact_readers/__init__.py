"""The formats of facts. One is a file with a function `read(record, where) -> facts`, and a line here.

A record becomes one or several `Fact`, or an InputError says what is wrong in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from modelfolder.errors import InputError, nearest
from rect.fact_readers import counterfact, easyedit, knowedit, mquake, own, qaedit, ripple, wikibigedit, zsre
from rect.facts import Fact

Reader = Callable[[Mapping[str, Any], str], list[Fact]]


class Format(NamedTuple):
    """A format, and the keys by which a record of it is told from others.

    Attributes:
        name: as the field calls it.
        read: a record and where it stands -> its facts.
        all_of: keys that are all there.
        one_of: keys of which one is there, if any are named.
    """

    name: str
    read: Reader
    all_of: frozenset[str]
    one_of: frozenset[str] = frozenset()

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has its keys."""
        return self.all_of <= record.keys() and (not self.one_of or bool(self.one_of & record.keys()))


def _format(name: str, read: Reader, all_of: str, one_of: str = "") -> Format:
    return Format(name, read, frozenset(all_of.split()), frozenset(one_of.split()))


FORMATS: dict[str, Format] = {  # the first that fits a record: those with more of their own come first
    "ripple": _format("RippleEdits", ripple.read, "edit", f"example_type {' '.join(ripple.CRITERIA)}"),
    "mquake": _format("MQuAKE", mquake.read, "requested_rewrite", "questions new_answer single_hops new_single_hops"),
    "counterfact": _format("CounterFact", counterfact.read, "requested_rewrite"),
    "knowedit": _format("KnowEdit", knowedit.read, "prompt target_new", "portability locality"),
    "zsre": _format("ZsRE in MEND's form", zsre.read, "src alt"),
    "wikibigedit": _format("WikiBigEdit", wikibigedit.read, "update ans"),
    "qaedit": _format("QAEdit", qaedit.read, "prompt target rephrase"),
    "easyedit": _format("EasyEdit's flat form", easyedit.read, "prompt target_new"),
    "facts": _format("this project's own format", own.read, "subject prompt target"),
}


def reader(format: str) -> Reader:
    """What reads a format. Raises InputError that names the nearest known one."""
    if format not in FORMATS:
        raise InputError(f"format {format!r} is not known; {nearest(format, FORMATS)}")
    return FORMATS[format].read
