"""Values and standard errors against independent counts: statistics, bootstrap, scikit-learn, seqeval, brute force."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter

import pytest
import seqeval.metrics
import sklearn.metrics
import task_records
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks
from tasks.ner import TYPES, entities
from tasks.records import Example
from tasks.scores import mean, mean_of_ratios, ratio
from tasks.text import rouge

NER = tasks.get("ner")


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_mean_and_its_error(values: list[float]) -> None:
    score = mean(values)
    assert score.n == len(values)
    assert score.value == pytest.approx(statistics.fmean(values))
    assert score.stderr == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)), abs=1e-12)


def test_one_value_has_no_error() -> None:
    assert mean([1.0]).value == 1
    assert math.isnan(mean([1.0]).stderr)


def test_nothing_to_find_and_nothing_named_counts_as_0() -> None:
    score = ratio([0.0, 0.0], [0.0, 0.0], n=2)
    assert score.value == 0
    assert math.isnan(score.stderr)


def test_a_ratio_without_denominator_is_left_out_of_the_mean() -> None:
    assert mean_of_ratios([([1, 0], [1, 1]), ([0, 0], [0, 0])], n=4).value == 0.5


def random_sentences(seed: int, count: int) -> tuple[list[Example], list[str]]:
    """Sentences over a few names, and outputs that name some of them and some wrong ones."""
    rng = random.Random(seed)
    names = ["Ada", "Bern", "Cern", "Dio", "Eve"]
    examples, outputs = [], []
    for index in range(count):
        tokens = rng.choices(names, k=rng.randint(1, 6))
        tags = ["O" if rng.random() < 0.3 else f"B-{rng.choice(list(TYPES))}" for _ in tokens]
        for example in NER.parse({"tokens": tokens, "ner_tags": tags}, str(index)):
            said = [name for name in example.gold if rng.random() < 0.6] + [n for n in names if rng.random() < 0.15]
            examples.append(example)
            outputs.append(" " + rng.choice([", ", "; ", "\n"]).join(said))
    return examples, outputs


def test_ner_error_is_near_the_bootstraps_over_sentences() -> None:
    examples, outputs = random_sentences(0, 150)
    scores = NER.score(outputs, examples)
    rng = random.Random(1)
    resampled: dict[str, list[float]] = {"score": [], "score_release": []}
    for _ in range(300):
        picked = [rng.randrange(150) for _ in range(150)]
        rows = [(4 * p + t, new) for new, p in enumerate(picked) for t in range(4)]
        drawn = [Example(f"{new}/{examples[i].id}", examples[i].fields, examples[i].gold) for i, new in rows]
        again = NER.score([outputs[i] for i, _ in rows], drawn)
        for key, values in resampled.items():
            values.append(again[key].value)
    for key, values in resampled.items():
        assert scores[key].stderr == pytest.approx(statistics.stdev(values), rel=0.2)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_ner_against_a_second_count(seed: int) -> None:
    examples, outputs = random_sentences(seed, 6)
    named, gold = set(), set()
    per_type: dict[str, list[bool]] = {}
    for output, example in zip(outputs, examples, strict=True):
        for piece in output.replace(";", ",").replace("\n", ",").split(","):
            if piece.strip():
                named.add((example.id, piece.strip()))
        for entity in example.gold:
            gold.add((example.id, entity))
            per_type.setdefault(example.fields["type"], []).append(entity in output)
    universe = sorted(named | gold)
    f1 = sklearn.metrics.f1_score([u in gold for u in universe], [u in named for u in universe]) if universe else 0.0
    shares = [statistics.fmean(found) for found in per_type.values()]
    scores = NER.score(outputs, examples)
    assert scores["score"].value == pytest.approx(f1)
    assert scores["score_release"].value == pytest.approx(statistics.fmean(shares) if shares else 0.0)
    assert scores["answered"].value == pytest.approx(statistics.fmean(bool(o.strip()) for o in outputs))


TAGS = st.sampled_from(["O", *(f"{p}-{t}" for p in "BI" for t in TYPES)])


@given(st.lists(TAGS, min_size=1, max_size=12))
def test_entities_are_those_of_seqeval(tags: list[str]) -> None:
    """Both BIO2 and IOB1, and what lies between: each token is its own text, so a text says where its entity stands."""
    from seqeval.metrics.sequence_labeling import get_entities

    tokens = [f"w{i}" for i in range(len(tags))]
    wanted = [(kind, " ".join(tokens[start : end + 1])) for kind, start, end in get_entities(tags)]
    assert entities(tokens, tags) == wanted


def test_ner_f1_is_seqevals_where_strings_do_not_repeat() -> None:
    """A prediction written as tags gives the same micro F1 when its entities are written as text."""
    rng = random.Random(3)
    truth, guess, examples, outputs = [], [], [], []
    for index in range(40):
        tokens = [f"w{index}x{i}" for i in range(8)]
        gold, said = ([rng.choice(["O", "O", "B-PER", "I-PER", "B-LOC", "B-ORG"]) for _ in tokens] for _ in range(2))
        truth.append(gold)
        guess.append([g if rng.random() < 0.7 else s for g, s in zip(gold, said, strict=True)])
        examples += NER.parse({"tokens": tokens, "ner_tags": gold}, str(index))
        outputs += [NER.gold_output(e) for e in NER.parse({"tokens": tokens, "ner_tags": guess[-1]}, str(index))]
    assert NER.score(outputs, examples)["score"].value == pytest.approx(seqeval.metrics.f1_score(truth, guess))


def test_an_entity_with_a_comma_can_be_found() -> None:
    tokens, tags = ["Washington", ",", "D.C.", "votes"], ["B-LOC", "I-LOC", "I-LOC", "O"]
    place = NER.parse({"tokens": tokens, "ner_tags": tags}, "0")[1]
    assert place.gold == ["Washington, D.C."]
    assert NER.judge(" Washington, D.C.", place).score == 1


@pytest.mark.parametrize(("name", "words"), [("nli", ("true", "false")), ("sentiment", ("positive", "negative"))])
def test_accuracy_is_scikit_learns(name: str, words: tuple[str, str]) -> None:
    task, rng = tasks.get(name), random.Random(0)
    examples = task_records.examples(name) * 20
    said = [rng.choice(words) for _ in examples]
    value = task.score([f" {word.upper()}" for word in said], examples)["score"].value
    assert value == pytest.approx(sklearn.metrics.accuracy_score([e.gold for e in examples], said))


def test_unanswered_ones_are_wrong_and_left_out_of_score_answered() -> None:
    examples = task_records.examples("nli")
    scores = tasks.get("nli").score([" True", " dunno", " False"], examples)  # gold: true, false, true
    assert scores["score"].value == pytest.approx(1 / 3)
    assert (scores["score_answered"].value, scores["score_answered"].n) == (0.5, 2)
    assert scores["answered"].value == pytest.approx(2 / 3)
    assert scores["answered"].n == 3


def brute_rouge(said: list[str], gold: list[str]) -> float:
    """ROUGE-1, -2, -L F1 by definition: clipped counts of n-grams, and the longest common subsequence by trying all."""

    def f1(hits: float, a: int, b: int) -> float:
        return 2 * hits / (a + b) if hits else 0.0

    total = 0.0
    for n in (1, 2):
        left, right = (Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in (said, gold))
        total += f1(sum((left & right).values()), sum(left.values()), sum(right.values()))
    common = 0
    for mask in range(1 << len(said)):
        part = [word for i, word in enumerate(said) if mask >> i & 1]
        rest = iter(gold)
        if len(part) > common and all(word in rest for word in part):
            common = len(part)
    return (total + f1(common, len(said), len(gold))) / 3


WORDS = st.lists(st.sampled_from(["ann", "bob", "milk", "4"]), max_size=6)


@given(WORDS, WORDS)
@settings(max_examples=60)
def test_rouge_against_its_definition(said: list[str], gold: list[str]) -> None:
    assert rouge(" ".join(said).upper() + ".", ", ".join(gold)) == pytest.approx(brute_rouge(said, gold))


def test_rouge_uses_no_stemmer() -> None:
    assert rouge("buys", "buy") == 0
