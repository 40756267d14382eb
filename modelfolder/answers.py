"""Whether a text says an answer: SQuAD's normalization, equality and containment. Shared by tasks and metrics."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable

from modelfolder.scripts import is_unspaced

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, no ASCII punctuation, no a/an/the, single spaces (SQuAD's answer normalization).

    A text of nothing but articles and punctuation ("The The") is only lower-cased, so that it can be told from an
    empty one.
    """
    plain = " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())
    return plain or " ".join(text.lower().split())


def equals(text: str, answers: Iterable[str]) -> bool:
    """Whether text and an answer are equal when normalized, however their letters are composed in Unicode (NFC)."""
    said = normalize(unicodedata.normalize("NFC", text))
    return said != "" and any(said == normalize(unicodedata.normalize("NFC", one)) for one in answers)


def contains(text: str, answers: Iterable[str]) -> bool:
    """Whether an answer stands in the text, both as `equals` compares them: as whole words, "Rome" is not in "Romeo".

    Scripts that are written without spaces have no such words: there any place will do.
    """
    said = normalize(unicodedata.normalize("NFC", text))
    return any(_stands_in(normalize(unicodedata.normalize("NFC", one)), said) for one in answers)


def _stands_in(answer: str, text: str) -> bool:
    if not answer:
        return False
    before = "" if is_unspaced(answer[0]) else r"(?<!\w)"
    after = "" if is_unspaced(answer[-1]) else r"(?!\w)"
    return re.search(f"{before}{re.escape(answer)}{after}", text) is not None
