"""Fluency: against reference numbers of AlphaEdit's code, scipy's entropy, and by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from scipy import stats

from rect import facts, metrics
from rect.facts import Fact
from rect.metrics import fluency
from rect.metrics.spoken import Question


def test_equal_to_the_code_of_alphaedit(shared_oracle: Path) -> None:
    reference = json.loads((shared_oracle / "counterfact.json").read_text())
    for part in ("fluency", "fluency_edge_cases"):
        found = []
        for one in reference[part]["texts"]:
            assert fluency.words(one["text"]) == one["tokens"]
            assert fluency._entropy(one["tokens"], 2) == pytest.approx(one["bigram_entropy"], abs=1e-9)
            assert fluency._entropy(one["tokens"], 3) == pytest.approx(one["trigram_entropy"], abs=1e-9)
            found.append(fluency.judge(Question(0, "text", one["text"][:5]), one["text"][5:], "")["entropy"])
            assert found[-1] == pytest.approx(one["ngram_entropy"], abs=1e-9)
        assert sum(found) / len(found) == pytest.approx(reference[part]["mean_ngram_entropy"], abs=1e-9)


def test_equal_to_scipys_entropy_of_counts() -> None:
    draw = random.Random(0)
    for n in (3, 4, 10, 100):
        tokens = [draw.choice("abcd") for _ in range(n)]
        parts = []
        for size, weight in ((2, 2 / 3), (3, 4 / 3)):
            grams = [" ".join(tokens[i : i + size]) for i in range(n - size + 1)]
            parts.append(weight * stats.entropy([grams.count(one) for one in set(grams)], base=2))
        assert fluency.entropy(tokens) == pytest.approx(sum(parts) / 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Anna left. She ran.", ["Anna", "left", ".", "She", "ran", "."]),
        (
            "Dr. Who met J. R. R. Tolkien. He slept",
            ["Dr.", "Who", "met", "J.", "R.", "R.", "Tolkien", ".", "He", "slept"],
        ),
        ('Why? "Yes." Then he', ["Why", "?", "``", "Yes", ".", "''", "Then", "he"]),
        ("in the U.S. in 1987", ["in", "the", "U.S.", "in", "1987"]),
        ("1,250.50 is 15% more...", ["1,250.50", "is", "15", "%", "more", "..."]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert fluency.words(text) == expected


def test_repetition_lowers_it() -> None:
    assert fluency.entropy(fluency.words("the cat " * 30)) < 1.1
    assert fluency.entropy([str(i) for i in range(100)]) > 6


def test_what_is_continued() -> None:
    fact = Fact(subject="Anna", prompt="{} lives in", target="Rome")
    with_openings = fact.model_copy(update={"openings": ("Anna often", "Where Anna lives,")})
    metric = metrics.get("fluency")
    assert isinstance(metric, metrics.Spoken)
    found = metric.questions([fact, with_openings], str)
    assert [(one.fact, one.text) for one in found] == [
        (0, "Anna lives in"),
        (1, "Anna often"),
        (1, "Where Anna lives,"),
    ]


def test_openings_are_no_part_of_an_edit() -> None:
    fact = Fact(subject="Anna", prompt="{} lives in", target="Rome")
    more = fact.model_copy(update={"openings": ("Anna often",)})
    assert facts.digest([fact]) == facts.digest([more])
    assert facts.distinct([fact, more])[0].openings == ("Anna often",)
