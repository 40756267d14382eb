"""Consistency of what an edited model writes with texts about what has the new attribute (Meng et al. 2022, "RS").

The cosine of two tf-idf vectors: of all continuations of a fact's openings together, with their prompts, and of all
snippets of the fact's attribute together. As scikit-learn's `TfidfVectorizer` has it by default: words are runs of at
least two letters or digits, in lower case, those of the vocabulary alone count, each as often as it stands there times
its idf. The texts are those of `fluency`, greedy; tables elsewhere have 100 times as much, of texts that were sampled.

Snippets, idf and vocabulary are ROME's files (`FILES`), in one folder. A fact without an attribute, or of whose
attribute there is no snippet, has no value.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modelfolder.errors import InputError, reason
from rect import places
from rect.evaluation import EditScores
from rect.facts import Fact
from rect.metrics import fluency
from rect.metrics.spoken import Question

FILES = SNIPPETS, IDF, VOCABULARY = "attribute_snippets.json", "idf.npy", "tfidf_vocab.json"
BUDGET = fluency.BUDGET
WORD = re.compile(r"\b\w\w+\b")
openings = fluency.openings


class Given(NamedTuple):
    """What the files hold.

    Attributes:
        weights: idf by word.
        snippets: texts by attribute, "P27 Q224".
        digest: SHA-256 of them.
    """

    weights: Mapping[str, float]
    snippets: Mapping[str, Sequence[str]]
    digest: str


class Consistency:
    """Rules of the metric (`rect.metrics.spoken.Rules`), with a folder's files. Raises InputError as `read`."""

    BUDGET = fluency.BUDGET
    SHOWN: tuple[str, ...] = ()
    enough: Callable[[str], bool] | None = None

    def __init__(self, folder: str) -> None:
        self.given = read(folder)

    def judge(self, question: Question, said: str, before: str) -> dict[str, float]:
        """How often each word of the vocabulary stands in the prompt with its continuation."""
        return self._counts(question.text + said)

    def _counts(self, text: str) -> dict[str, float]:
        counts = Counter(word for word in WORD.findall(text.lower()) if word in self.given.weights)
        return {word: float(n) for word, n in counts.items()}

    def scores(
        self, name: str, facts: Sequence[Fact], questions: Sequence[Question], judged: Sequence[Mapping[str, float]]
    ) -> EditScores:
        """`<name>/text/cosine` per fact."""
        written: list[dict[str, float]] = [{} for _ in facts]
        for question, counts in zip(questions, judged, strict=True):
            mine = written[question.fact]
            mine.update({word: mine.get(word, 0.0) + n for word, n in counts.items()})
        about = [self._counts(" ".join(self.given.snippets.get(fact.attribute or "", ()))) for fact in facts]
        return EditScores({f"{name}/text/cosine": tuple(map(self._cosine, written, about))})

    def _cosine(self, one: Mapping[str, float], other: Mapping[str, float]) -> float:
        """NaN where either has no word."""
        a, b = ({word: n * self.given.weights[word] for word, n in counts.items()} for counts in (one, other))
        lengths = math.sqrt(math.fsum(v * v for v in a.values()) * math.fsum(v * v for v in b.values()))
        return math.fsum(v * b[word] for word, v in a.items() if word in b) / lengths if lengths else math.nan


rules = functools.cache(Consistency)
"""The rules with a folder's files, which are read once."""


def identity(folder: str, facts: Sequence[Fact]) -> str:
    """SHA-256 of the files.

    Raises:
        InputError: as `read`, or none of the facts has a snippet.
    """
    given = read(folder)
    if not any(given.snippets.get(fact.attribute or "") for fact in facts):
        raise InputError(
            f"{_path(folder, SNIPPETS)}: has no snippet for any of the facts; it knows attributes by relation_id and "
            "target_id, as CounterFact's records have them"
        )
    return given.digest


def read(folder: str) -> Given:
    """The files of a folder.

    Raises:
        InputError: a file is missing, is not what it should be, or vocabulary and idf do not fit.
    """
    data = {name: _bytes(folder, name) for name in FILES}
    vocabulary = _json(folder, VOCABULARY, data)
    whole = isinstance(vocabulary, dict) and all(type(place) is int for place in vocabulary.values())
    if not whole or not vocabulary or sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise InputError(f"{_path(folder, VOCABULARY)}: an object is wanted that gives each word a number from 0 on")
    idf = _idf(folder, data)
    if len(idf) != len(vocabulary):
        raise InputError(f"{folder}: {IDF} has {len(idf)} numbers, {VOCABULARY} {len(vocabulary)} words: no pair")
    weights = {word: idf[place] for word, place in vocabulary.items()}
    digest = "".join(hashlib.sha256(data[name]).hexdigest() for name in FILES)
    return Given(weights, _snippets(folder, data), hashlib.sha256(digest.encode()).hexdigest())


def _idf(folder: str, data: Mapping[str, bytes]) -> list[float]:
    import numpy as np

    path = _path(folder, IDF)
    try:
        found = np.load(io.BytesIO(data[IDF]), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind != "f" or not np.isfinite(found).all():
        raise InputError(f"{path}: one row of finite numbers is wanted")
    values: list[float] = found.astype(float).tolist()
    return values


def _snippets(folder: str, data: Mapping[str, bytes]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        for record in _json(folder, SNIPPETS, data):
            texts = [sample["text"] for sample in record["samples"]]
            "".join(texts)  # strings
            found.setdefault(f"{record['relation_id']} {record['target_id']}", []).extend(texts)
    except (TypeError, KeyError):
        raise InputError(
            f"{_path(folder, SNIPPETS)}: a list of objects with relation_id, target_id and samples is wanted, each of "
            "these with a text"
        ) from None
    return found


def _json(folder: str, name: str, data: Mapping[str, bytes]) -> Any:
    try:
        return json.loads(data[name])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{_path(folder, name)}: not valid JSON ({reason(error)})") from None


def _bytes(folder: str, name: str) -> bytes:
    path = _path(folder, name)
    try:
        return path.read_bytes()
    except OSError as error:
        wanted = f"a folder with {', '.join(FILES)} is wanted"
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {wanted}") from None


def _path(folder: str, name: str) -> Path:
    return places.expanded(folder) / name
