"""Consistency: against scikit-learn's vectorizer with given idf and vocabulary, and files that do not serve."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from modelfolder.errors import InputError
from rect import facts as fact_sets
from rect import metrics
from rect.facts import Fact
from rect.metrics import consistency

SNIPPETS = {
    "P27 Q224": ["Luka is a Croatian footballer; he's from Zagreb.", "ZAGREB, 1991: a naïve painter - É. Écru"],
    "P27 Q36": ["A Polish poet of the 1990s. Poet, poet!"],
    "P30 Q51": [],
}
SAID = {
    "Ellie, a footballer, often": " says that Zagreb is a footballer\nin 1991_2 I a",
    "Where the painter Ellie lives,": " people are Croatian. Naïve ÉCRU x, Zagreb",
    "Jan, the poet, often": " writes, as a POET, for 1990s readers",
    "No one": " wrote anything",
    "Ida often": " !?",
}
FACTS = [
    Fact(
        subject="Ellie",
        prompt="{} lives in",
        target="Croatia",
        openings=("Ellie, a footballer, often", "Where the painter Ellie lives,"),
        attribute="P27 Q224",
    ),
    Fact(subject="Jan", prompt="{} lives in", target="Poland", openings=("Jan, the poet, often",), attribute="P27 Q36"),
    Fact(subject="No one", prompt="{}", target="x", openings=("No one",), attribute="P27 Q1"),
    Fact(subject="Ida", prompt="{} is in", target="Rome", openings=("Ida often",), attribute="P30 Q51"),
    Fact(subject="Ida", prompt="{} often", target="Rome"),
]
DOCUMENTS = [*(text for texts in SNIPPETS.values() for text in texts), "a painter says that people are people", "wrote"]


def files(folder: Path, **changed: Any) -> Path:
    """ROME's three files; `changed` are bytes, by the name before the dot."""
    fitted = TfidfVectorizer().fit(DOCUMENTS)
    records = [
        {"relation_id": key.split()[0], "target_id": key.split()[1], "samples": [{"name": "x", "text": text}]}
        for key, texts in SNIPPETS.items()
        for text in texts
    ]
    folder.mkdir(exist_ok=True)
    (folder / "attribute_snippets.json").write_text(json.dumps(records))
    np.save(folder / "idf.npy", fitted.idf_)
    vocabulary = {word: int(place) for word, place in fitted.vocabulary_.items()}
    (folder / "tfidf_vocab.json").write_text(json.dumps(vocabulary))
    for path in folder.iterdir():
        if path.stem in changed:
            path.write_bytes(changed[path.stem])
    return folder


def vectorizer(folder: Path) -> TfidfVectorizer:
    """As the release makes one: with the idf and the vocabulary of the files."""
    made = TfidfVectorizer(vocabulary=json.loads((folder / "tfidf_vocab.json").read_text()))
    made.fit([""])
    made.idf_ = np.load(folder / "idf.npy")
    return made


def metric() -> metrics.Spoken:
    found = metrics.get("consistency")
    assert isinstance(found, metrics.Spoken)
    return found


def scored(folder: Path) -> tuple[float, ...]:
    questions = metric().questions(FACTS, str)
    rules = metric().rules(str(folder))
    judged = [rules.judge(one, SAID[one.text], "not this") for one in questions]
    (values,) = rules.scores("consistency", FACTS, questions, judged).per_fact.values()
    return values


def test_equal_to_scikit_learn(tmp_path: Path) -> None:
    """As the release does it: the dot product of two vectors over their norms."""
    folder = files(tmp_path)
    made = vectorizer(folder)
    values = scored(folder)
    for fact, value in zip(FACTS[:2], values, strict=False):
        texts = [" ".join(one + SAID[one] for one in fact.openings), " ".join(SNIPPETS[fact.attribute or ""])]
        a, b = made.transform(texts).toarray()
        wanted = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert 0.1 < wanted < 0.99
        assert value == pytest.approx(wanted, abs=1e-12)
    assert np.isnan(values[2:]).all()  # no snippet; a snippet without a text; no attribute


def test_by_hand(tmp_path: Path) -> None:
    np.save(tmp_path / "idf.npy", np.array([3.0, 2.0, 1.0, 9.0], dtype=np.float32))
    (tmp_path / "tfidf_vocab.json").write_text('{"rome": 0, "paris": 1, "is": 2, "a": 3}')
    record = {"relation_id": "P1", "target_id": "Q1", "samples": [{"text": "Rome is"}, {"text": "Rome, a Rome"}]}
    (tmp_path / "attribute_snippets.json").write_text(json.dumps([record]))
    rules = metric().rules(str(tmp_path))
    fact = Fact(subject="a", prompt="{} is", target="Rome", attribute="P1 Q1")
    (question,) = metric().questions([fact], str)
    judged = [rules.judge(question, " Paris, not Rome: is it?", "")]
    assert judged == [{"is": 2, "paris": 1, "rome": 1}]  # a single letter is no word, also where the vocabulary has it
    ((value,),) = rules.scores("consistency", [fact], [question], judged).per_fact.values()
    written, about = np.array([3, 2, 2]), np.array([9, 0, 1])
    assert value == pytest.approx(written @ about / np.linalg.norm(written) / np.linalg.norm(about))


class Code:
    """Unpickled it would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def npy(values: Any, tmp_path: Path) -> bytes:
    path = tmp_path / "made.npy"
    np.save(path, values, allow_pickle=True)
    return path.read_bytes()


RECORDS = "a list of objects with relation_id, target_id and samples is wanted, each of these with a text"
WORDS = "an object is wanted that gives each word a number from 0 on"


@pytest.mark.parametrize(
    ("name", "data", "wrong"),
    [
        ("attribute_snippets.json", b"[{]", "attribute_snippets.json: not valid JSON"),
        ("attribute_snippets.json", b"\xff", "attribute_snippets.json: not valid JSON"),
        ("attribute_snippets.json", b"[" * 100_000, "attribute_snippets.json: not valid JSON"),
        ("attribute_snippets.json", b'{"a": 1}', RECORDS),
        ("attribute_snippets.json", b"[1]", RECORDS),
        ("attribute_snippets.json", b'[{"relation_id": "P1", "target_id": "Q1", "samples": [{"text": 1}]}]', RECORDS),
        ("attribute_snippets.json", b'[{"relation_id": "P1", "samples": []}]', RECORDS),
        ("attribute_snippets.json", b"[]", "attribute_snippets.json: has no snippet for any of the facts"),
        ("tfidf_vocab.json", b"[]", WORDS),
        ("tfidf_vocab.json", b"{}", WORDS),
        ("tfidf_vocab.json", b'{"a": 1}', WORDS),
        ("tfidf_vocab.json", b'{"a": 0, "b": 0}', WORDS),
        ("tfidf_vocab.json", b'{"a": true, "b": 0}', WORDS),
        ("tfidf_vocab.json", b'{"aa": 0}', "tfidf_vocab.json 1 words: no pair"),
        ("idf.npy", b"", "idf.npy: cannot be read"),
        ("idf.npy", b"\x93NUMPY\x01\x00", "idf.npy: cannot be read"),
        ("idf.npy", pickle.dumps(Code()), "idf.npy: cannot be read"),
        ("idf.npy", np.array([Code()], dtype=object), "idf.npy: cannot be read"),
        ("idf.npy", np.ones((2, 2)), "idf.npy: one row of finite numbers is wanted"),
        ("idf.npy", np.array([1.0, np.nan]), "idf.npy: one row of finite numbers is wanted"),
        ("idf.npy", np.array(["a"]), "idf.npy: one row of finite numbers is wanted"),
        ("idf.npy", np.ones(3), "idf.npy has 3 numbers, tfidf_vocab.json "),
    ],
)
def test_files_that_do_not_serve(
    name: str, data: Any, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = data if isinstance(data, bytes) else npy(data, tmp_path)
    folder = files(tmp_path / "given", **{name.partition(".")[0]: data})
    with pytest.raises(InputError) as refused:
        metric().files(str(folder), FACTS)
    assert wrong in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", consistency.FILES)
def test_a_file_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    (files(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=f"{name}: cannot be read .*; a folder with .* is wanted"):
        metric().rules(str(tmp_path))


def test_what_it_is_known_by(tmp_path: Path) -> None:
    one = metric().files(str(files(tmp_path / "one")), FACTS)
    assert metric().files(str(files(tmp_path / "two")), FACTS) == one
    for name in ("attribute_snippets", "idf", "tfidf_vocab"):
        path = next(path for path in (tmp_path / "two").iterdir() if path.stem == name)
        changed = path.read_bytes()
        changed = changed.replace(b"Luka", b"Lukas") if name == "attribute_snippets" else changed
        changed = changed[:-1] + bytes([changed[-1] ^ 1]) if name == "idf" else changed
        changed = changed.replace(b'"zagreb"', b'"zagrebs"') if name == "tfidf_vocab" else changed
        other = metric().files(str(files(tmp_path / "three", **{name: changed})), FACTS)
        assert other != one


def test_the_attribute_is_no_part_of_an_edit() -> None:
    plain = FACTS[0].model_copy(update={"attribute": None})
    assert fact_sets.digest([plain]) == fact_sets.digest(FACTS[:1])
