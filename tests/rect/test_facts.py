"""Facts, their order and their digest."""

from __future__ import annotations

from typing import Any

import pytest

from modelfolder.errors import InputError
from rect import Fact, Locality, Portability, facts

GOOD: dict[str, Any] = {"subject": "France", "prompt": "The capital of {} is", "target": "Rome"}


def test_a_prompt_is_filled_by_replacement() -> None:
    assert Fact(**GOOD).filled == "The capital of France is"
    braces = Fact(subject="{0}", prompt="{x} {{}} {} {", target="y")
    assert braces.filled == "{x} {{0}} {0} {"
    assert Fact(subject="set", prompt="{a, b} is a {}", target="y").filled == "{a, b} is a set"


def test_white_space_around_answers_is_removed() -> None:
    fact = Fact(
        subject=" France ",
        prompt="The capital of {} is ",
        target=" Rome\n",
        original="Paris ",
        rephrasings=(" France's capital is ",),
        locality=({"prompt": "Spain's is ", "answer": " Madrid"},),
    )
    assert (fact.subject, fact.prompt, fact.target, fact.original) == (
        "France",
        "The capital of {} is",
        "Rome",
        "Paris",
    )
    assert fact.rephrasings == (" France's capital is",)
    assert fact.locality == (Locality(prompt="Spain's is", answer="Madrid"),)


def test_an_empty_original_is_none() -> None:
    assert Fact(**GOOD, original=" ").original is None
    assert Fact(**GOOD).original is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"target": ""}, "target is empty"),
        ({"target": "  "}, "target is empty"),
        ({"subject": ""}, "subject is empty"),
        ({"prompt": "no place"}, r"prompt 'no place' has no \{\} where the subject stands"),
        ({"target": 3}, "target is a number; a string is wanted"),
        ({"targt": "x"}, r"targt: unknown key; did you mean 'target'\?"),
        ({"rephrasings": "one"}, r"rephrasings is a string \('one'\); a list is wanted"),
        ({"rephrasings": ["one", " "]}, r"rephrasings\[1\] is empty"),
        ({"rephrasings": {"a": "b"}}, r"rephrasings is an object with the keys 'a'; a list is wanted"),
        ({"locality": [{"prompt": ""}]}, r"locality\[0\].prompt is empty"),
        (
            {"locality": ["text"]},
            r"locality\[0\] is a string \('text'\); an object with the keys prompt and answer is wanted",
        ),
        ({"target": "\ud800"}, r"target holds a character that is not valid Unicode \(a lone surrogate\)"),
        ({"self": 1}, "self: unknown key.*"),
        (
            {"portability": [{"prompt": "x", "answers": []}]},
            r"portability\[0\].answers is an empty list; at least one.*",
        ),
        ({"portability": [{"prompt": "x", "answers": "y"}]}, r"portability\[0\].answers is a string \('y'\); a list.*"),
        ({"portability": [{"prompt": "x", "answers": [" "]}]}, r"portability\[0\].answers\[0\] is empty"),
        ({"portability": ["x"]}, r"portability\[0\] is .*; an object with the keys prompt and answers is wanted"),
        ({"portability": [{"prompt": "x", "answer": ["y"]}]}, r"portability\[0\].answer: unknown key; did you mean.*"),
        ({"aliases": ["Roma", ""]}, r"aliases\[1\] is empty"),
        ({"instances": [{"id": "1", "edits": 0, "questions": ["q"], "answers": ["a"]}]}, r"instances\[0\].edits: .*"),
        ({"locality": [{"promt": "x"}]}, r"locality\[0\].promt: unknown key; did you mean 'prompt'\?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=f"^{reason}$"):
        Fact(**{**GOOD, **change})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"^target is missing$"):
        Fact(subject="a", prompt="{} b")  # type: ignore[call-arg]


def test_facts_are_frozen_and_hashable() -> None:
    fact = Fact(**GOOD)
    with pytest.raises(ValueError, match="frozen"):
        fact.target = "Madrid"  # type: ignore[misc]
    assert len({fact, Fact(**GOOD)}) == 1


def numbered(n: int) -> list[Fact]:
    return [Fact(subject=f"s{i}", prompt="{} is", target="t") for i in range(n)]


def test_draws_are_prefixes_of_one_permutation() -> None:
    pool = numbered(20)
    order = facts.draw(pool, 3, 20)
    assert sorted(fact.subject for fact in order) == sorted(fact.subject for fact in pool)
    assert order != pool
    for n in (0, 1, 7, 19):
        assert facts.draw(pool, 3, n) == order[:n]
    assert facts.draw(pool, 4, 20) != order


def test_a_small_set_is_repeated() -> None:
    pool = numbered(3)
    order = facts.draw(pool, 0, 3)
    assert facts.draw(pool, 0, 8) == [*order, *order, *order[:2]]
    with pytest.raises(InputError, match="edit set is empty"):
        facts.draw([], 0, 1)


def test_the_order_is_the_same_for_ever() -> None:
    """Results are kept by the facts that were drawn: a new version must draw the same."""
    assert [fact.subject for fact in facts.draw(numbered(8), 0, 8)] == ["s4", "s0", "s6", "s7", "s2", "s1", "s5", "s3"]


def test_the_digest_is_of_the_content() -> None:
    fact = Fact(**GOOD)
    digest = facts.digest([fact])
    assert len(digest) == 64
    assert facts.digest([Fact(**GOOD, id="a name")]) == digest
    assert facts.digest([Fact(**GOOD, original="Paris")]) != digest
    two = [fact, Fact(**{**GOOD, "target": "Oslo"})]
    assert facts.digest(two) != facts.digest(two[::-1])
    assert facts.digest([fact]) == "40c5e2c56dc6e2c33299c261ba2deb5c6ba053d5e1d052a432abc05b0ea7e165"


def test_distinct_counts_each_edit_once_in_order() -> None:
    one = Fact(**GOOD, id="1", rephrasings=("a",), locality=({"prompt": "x"},))
    other = Fact(**{**GOOD, "target": "Madrid"}, id="2")
    again = Fact(**GOOD, id="3", original="Paris", rephrasings=("b", "a"), locality=({"prompt": "x", "answer": "y"},))
    first, second = facts.distinct([one, other, again, other])
    assert second == other
    assert (first.id, first.original) == ("1", None)
    assert first.rephrasings == ("a", "b")
    assert first.locality == (Locality(prompt="x"), Locality(prompt="x", answer="y"))
    assert facts.distinct([one, other]) == [one, other]
    assert facts.distinct([]) == []


def in_instances(*sizes: int) -> list[Fact]:
    """Facts of instances of these sizes; 0 stands for a fact by itself."""
    found = []
    for number, size in enumerate(sizes):
        instance = {"id": f"i{number}", "edits": max(size, 1), "questions": ("q",), "answers": ("a",)}
        many = (instance,) if size else ()
        found += [
            Fact(subject=f"s{number}-{i}", prompt="{} is", target="t", instances=many) for i in range(max(size, 1))
        ]
    return found


def test_an_instance_is_drawn_whole() -> None:
    pool = in_instances(2, 1, 3, 0, 0)
    assert facts.units(pool) == [(0, 1), (2,), (3, 4, 5), (6,), (7,)]
    batches = facts.draw_batches(pool, seed=3, n=5, size=1)
    assert sorted(map(len, batches)) == [1, 1, 1, 2, 3]
    assert all(len({fact.subject.split("-")[0] for fact in batch}) == 1 for batch in batches)
    one_by_one = [fact for batch in batches for fact in batch]
    assert facts.draw(pool, 3, 8) == one_by_one
    assert facts.draw_batches(pool, 3, 2, 2) == [batches[0] + batches[1], batches[2] + batches[3]]
    assert facts.draw_batches(pool, 3, 6, 1) == [*batches, batches[0]]  # a small set is repeated


def test_an_instance_without_one_of_its_facts_is_passed_over() -> None:
    pool = in_instances(2, 1, 3)
    assert sorted(map(len, facts.draw_batches(pool, 0, 2, 1, without=[4]))) == [1, 2]
    with pytest.raises(InputError, match="edit set is empty"):
        facts.draw_batches(pool, 0, 1, 1, without=[0, 2, 5])


def test_batches_of_facts_by_themselves_are_cut_from_the_permutation() -> None:
    pool = numbered(7)
    order = facts.draw(pool, 5, 12)
    assert facts.draw_batches(pool, 5, 4, 3) == [tuple(order[i : i + 3]) for i in range(0, 12, 3)]


FULL: dict[str, Any] = {
    "original": "Paris",
    "rephrasings": ("France's capital is",),
    "locality": ({"prompt": "Spain's capital is", "answer": "Madrid"},),
}
LATER: dict[str, Any] = {
    "aliases": ("Roma",),
    "portability": (
        {"prompt": "The river of France's capital is the", "answers": ("Tiber", "Tevere"), "kind": "Reasoning"},
    ),
    "instances": ({"id": "1", "edits": 2, "questions": ("Which river?",), "answers": ("Tiber",)},),
}


def test_the_digest_of_a_fact_as_it_always_was_is_kept() -> None:
    """Ids are made of it: those of results that are there must not change when facts gain keys."""
    known = "cf912fc526bd8b35408a1c7ccdfe9fff"
    assert facts.digest([Fact(**GOOD, **FULL), Fact(**GOOD)]).startswith(known)
    assert facts.digest([Fact(**GOOD, id="x")]) == facts.digest([Fact(**GOOD, aliases=(), portability=())])


@pytest.mark.parametrize("key", sorted(LATER))
def test_what_later_keys_say_is_in_the_digest(key: str) -> None:
    assert facts.digest([Fact(**GOOD, **{key: LATER[key]})]) != facts.digest([Fact(**GOOD)])


def test_a_kind_of_locality_is_in_the_digest() -> None:
    told, bare = (Fact(**GOOD, locality=({"prompt": "x", **more},)) for more in ({"kind": "Forgetfulness"}, {}))
    assert facts.digest([told]) != facts.digest([bare])


def test_an_edit_has_the_portability_of_all_its_records() -> None:
    one = Fact(**GOOD, **LATER)
    other = Fact(**GOOD, aliases=("Roma", "Rom"), portability=({"prompt": "x", "answers": ("y",)},))
    [both] = facts.distinct([one, other])
    assert both.aliases == ("Roma", "Rom")
    assert both.portability == (*one.portability, Portability(prompt="x", answers=("y",)))
    assert both.instances == one.instances
