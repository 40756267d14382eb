"""MQuAKE's and RippleEdits' figures on answers made by hand, counted by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from rect import metrics
from rect.evaluation import EditScores
from rect.facts import Fact, Instance, Question, RippleQuery, RippleTest, distinct

NAN = pytest.approx(math.nan, nan_ok=True)


def figures(name: str, facts: Sequence[Fact], said: Mapping[str, str], before: Mapping[str, str]) -> EditScores:
    metric = metrics.get(name)
    assert isinstance(metric, metrics.Spoken)
    questions = metric.questions(facts, str)
    judged = [metric.rules().judge(one, said.get(one.text, ""), before.get(one.text, "")) for one in questions]
    return metric.rules().scores(name, facts, questions, judged)


def instance(id: str, edits: int, *hops: tuple[str, tuple[str, ...]]) -> Instance:
    asked = tuple(Question(prompt=prompt, answers=answers) for prompt, answers in hops)
    return Instance(id=id, edits=edits, questions=(f"{id} a?", f"{id} b?"), answers=("yen", "JPY"), hops=asked)


OSLO = ("Oslo is in", ("Japan", "Nippon"))
MONEY = ("The money of Japan is the", ("yen",))
TWO = instance("two", 2, OSLO, MONEY)
ONE = instance("one", 1, OSLO)
TORN = instance("torn", 2, OSLO)
FACTS = distinct([
    Fact(subject="Oslo", prompt="{} is in", target="Japan", aliases=("Nippon",), instances=(TWO,)),
    Fact(subject="Japan", prompt="The money of {} is the", target="yen", instances=(TWO,)),
    Fact(subject="Oslo", prompt="{} is in", target="Japan", instances=(ONE,)),  # the same edit, of another instance
    Fact(subject="Rome", prompt="{} is in", target="Peru", instances=(TORN,)),
])  # fmt: skip


def test_mquake() -> None:
    assert len(FACTS) == 3
    said = {"Oslo is in": " Nippon.\nJapan", "The money of Japan is the": " yenny", "Rome is in": "\n Peru, in Asia"}
    said |= {"two a?": "the dollar", "two b?": "It is the JPY", "one a?": "\nno\nyen", "one b?": ""}
    found = figures("mquake", FACTS, said, {})
    assert found.per_fact == {"mquake/edit_wise": (1.0, 0.0, 1.0)}
    assert {name: (one.value, one.n) for name, one in found.over_all.items()} == {
        "mquake/instance_wise": (0.5, 2),  # "two" lacks its second hop, "one" has its only one
        "mquake/multi_hop": (0.5, 2),  # "two" in its second wording; what "one" says in its second line does not count
    }
    assert found.over_all["mquake/multi_hop"].stderr == pytest.approx(math.sqrt(0.5 / 2))


def test_an_instance_that_is_edited_in_part_is_not_asked() -> None:
    metric = metrics.get("mquake")
    assert isinstance(metric, metrics.Spoken)
    assert {one.text for one in metric.questions(FACTS[2:], str)} == {"Rome is in"}
    assert not figures("mquake", FACTS[2:], {}, {}).over_all
    assert {one.text for one in metric.questions(FACTS[:1], str)} == {"Oslo is in", "one a?", "one b?"}


def query(prompt: str, *answers: tuple[str, ...]) -> RippleQuery:
    return RippleQuery(prompt=prompt, answers=answers)


KNOWN = query("The mayor is", ("Ann",))
SIBLINGS = query("Her siblings are", ("Bob", "Robert"), ("Eve",))
TESTS = (
    RippleTest(kind="Compositionality_I", queries=(SIBLINGS,), conditions=(KNOWN,)),
    RippleTest(kind="Compositionality_I", queries=(query("x", ("Rome",)), query("y", ("Rome",))), every=True),
    RippleTest(kind="Subject_Aliasing", queries=(query("x", ("Rome",)), query("y", ("Rome",)))),
    RippleTest(kind="Compositionality_I", queries=(query("x", ("Rome",)),), conditions=(KNOWN, query("z", ("no",)))),
    RippleTest(kind="Forgetfulness", queries=(KNOWN,), conditions=(query("z", ("no",)),)),
)


@pytest.mark.parametrize(
    ("siblings", "passed"),
    [(" Robert and Eve.", 0.5), (" Eve and Eve", 0.0), (" Bobby, Eve", 0.0), ("", 0.0)],
)
@pytest.mark.parametrize("edited", [True, False])
def test_ripple_edits(siblings: str, passed: float, edited: bool) -> None:
    facts = [
        Fact(subject="Anna", prompt="{} lives in", target="Rome", tests=TESTS),
        Fact(subject="Bern", prompt="{} is in", target="Peru"),
    ]
    said = {"Anna lives in": " Rome" if edited else " Romeo", "x": "in Rome", "y": "Paris"}
    said |= {"Her siblings are": siblings, "The mayor is": "Ann"}
    found = figures("ripple", facts, said, {"The mayor is": "it is ann", "z": "yes"})
    assert found.per_fact == {
        "ripple/Compositionality_I/passed": (pytest.approx(passed), NAN),
        "ripple/Compositionality_I/passed_where_edited": (pytest.approx(passed) if edited else NAN, NAN),
        "ripple/Compositionality_I/counted": (pytest.approx(2 / 3), NAN),  # "z" did not hold before
        "ripple/Forgetfulness/passed": (NAN, NAN),
        "ripple/Forgetfulness/passed_where_edited": (NAN, NAN),
        "ripple/Forgetfulness/counted": (0.0, NAN),
        "ripple/Subject_Aliasing/passed": (1.0, NAN),
        "ripple/Subject_Aliasing/passed_where_edited": (1.0 if edited else NAN, NAN),
        "ripple/Subject_Aliasing/counted": (1.0, NAN),
    }
    assert "ripple/Forgetfulness/passed" not in found.figures()


def test_conditions_are_of_the_unedited_model() -> None:
    fact = Fact(subject="Anna", prompt="{} lives in", target="Rome", tests=TESTS[:1])
    said = {"Her siblings are": "Bob, Eve", "The mayor is": "nobody"}
    assert figures("ripple", [fact], said, {"The mayor is": "Ann"}).figures()["ripple/Compositionality_I/passed"].n == 1
    assert figures("ripple", [fact], said | {"The mayor is": "Ann"}, {}).figures().keys() == {
        "ripple/Compositionality_I/counted"
    }
