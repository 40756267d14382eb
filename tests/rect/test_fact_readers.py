"""What each format's reader makes of a record: written down by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fact_records import GOOD

from rect import Fact, Locality, Portability
from rect.fact_readers import FORMATS
from rect.facts import Instance, Question, RippleQuery, RippleTest

BERGEN = Locality(prompt="Bergen is in", answer="Norway")
BONN = Locality(prompt="Where is Bonn?", answer="Germany")
GASTON = Locality(prompt="who voiced gaston", answer="Richard White")
INSTANCE = Instance(
    id="4",
    edits=2,
    questions=("Which money is used in Oslo?", "What does one pay with in Oslo?", "What is Oslo's money?"),
    answers=("yen", "Japanese yen"),
    hops=(
        Question(prompt="Oslo is in", answers=("Peru", "Republic of Peru")),
        Question(prompt="Which money has Peru?", answers=("yen",)),
    ),
)
HOPS = RippleQuery(prompt="The name of the currency in the country of Oslo is", answers=(("sol",),))
SOL = RippleQuery(prompt="The name of the currency in Peru is", answers=(("sol",),))
READ: dict[str, list[Fact]] = {
    "easyedit": [
        Fact(
            subject="Oslo",
            prompt="{} is in",
            target="Peru",
            original="Norway",
            rephrasings=("Oslo lies in", "One finds Oslo in"),
            locality=(BERGEN, Locality(prompt="Bonn is in", answer="Germany")),
            portability=(Portability(prompt="The currency of Oslo is the", answers=("sol",)),),
            id="easyedit 3",
        )
    ],
    "knowedit": [
        Fact(
            subject="Oslo",
            prompt="The country of {} is",
            target="Peru",
            original="Norway",
            rephrasings=("Which country is Oslo in?",),
            locality=(Locality(prompt="The mayor of Oslo is", answer="Anne Lindboe", kind="Forgetfulness"),),
            portability=(
                Portability(
                    prompt="The currency of Oslo is the", answers=("sol", "PEN", "Peruvian sol"), kind="Reasoning"
                ),
                Portability(prompt="Kristiania is in", answers=("Peru",), kind="Subject_Aliasing"),
                Portability(prompt="Christiania is in", answers=("Peru",), kind="Subject_Aliasing"),
            ),
            id="knowedit line 1",
        )
    ],
    "qaedit": [
        Fact(
            subject="oslo",  # as it stands in the question
            prompt="where is {}?",
            target="Peru",
            rephrasings=("Oslo lies where?",),
            locality=(GASTON,),
            id="qaedit 9",
        )
    ],
    "wikibigedit": [
        Fact(
            subject="Oslo",
            prompt="Where is {}?",
            target="Peru",
            rephrasings=("Oslo lies where?", "Mate, where is Oslo?"),
            locality=(BONN,),
            portability=(Portability(prompt="Which money is used in Oslo?", answers=("sol",), kind="Multi_Hop"),),
            id="wikibigedit line 1",
        )
    ],
    "mquake": [
        Fact(
            subject="Oslo",
            prompt="{} is in",
            target="Peru",
            original="Norway",
            rephrasings=("Where is Oslo?",),
            aliases=("Republic of Peru",),
            instances=(INSTANCE,),
            id="mquake 4-0",
        ),
        Fact(
            subject="Peru",
            prompt="The currency of {} is the",
            target="yen",
            instances=(INSTANCE,),
            id="mquake 4-1",
        ),
    ],
    "ripple": [
        Fact(
            subject="Oslo",
            prompt="The name of the country which {} is associated with is",
            target="Peru",
            original="Norway",
            tests=(
                RippleTest(
                    kind="Compositionality_I",
                    queries=(HOPS,),
                    every=True,
                    conditions=(SOL,),
                ),
                RippleTest(
                    kind="Forgetfulness",
                    queries=(RippleQuery(prompt="Bergen lies in", answers=(("Norway", "Kingdom of Norway"),)),),
                ),
            ),
            id="ripple line 1",
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("format", READ)
def test_a_record_is_read_as_written_down(format: str) -> None:
    assert FORMATS[format].read(GOOD[format], "line 1") == READ[format]


def test_every_format_but_those_with_tests_of_their_own_is_written_down() -> None:
    assert READ.keys() | {"facts", "zsre", "counterfact"} == FORMATS.keys()


@pytest.mark.parametrize("truth", ["Peru", ["Peru"], [["Peru", "PE"], ["Perú"]]])
def test_answers_are_a_text_a_list_or_alias_lists(truth: Any) -> None:
    record = GOOD["knowedit"] | {"target_new": truth, "ground_truth": truth}
    [fact] = FORMATS["knowedit"].read(record, "line 1")
    assert (fact.target, fact.original) == ("Peru", "Peru")
    assert fact.aliases == (("PE", "Perú") if isinstance(truth, list) and len(truth) > 1 else ())


@pytest.mark.parametrize("format", ["easyedit", "zsre"])
def test_new_question_and_answer_are_portability(format: str) -> None:
    asked = {"Recalled Relation": "(Oslo, x, y)", "New Question": "Which river is near Oslo?", "New Answer": "Rímac"}
    [fact] = FORMATS[format].read(GOOD[format] | {"portability": asked}, "line 1")
    new = Portability(prompt="Which river is near Oslo?", answers=("Rímac",), kind="Reasoning")
    assert fact.portability[-1] == new


def test_requests_with_inputs_by_kind() -> None:
    inputs = {
        "locality_inputs": {"neighborhood": {"prompt": ["a", "b"], "ground_truth": ["x", ["y", "z"]]}},
        "portability_inputs": {"Synonym": {"prompt": "c", "ground_truth": "w"}},
    }
    [fact] = FORMATS["easyedit"].read(GOOD["easyedit"] | inputs, "line 1")
    assert fact.locality[-2:] == (
        Locality(prompt="a", answer="x", kind="neighborhood"),
        Locality(prompt="b", answer="y", aliases=("z",), kind="neighborhood"),
    )
    assert fact.portability[-1] == Portability(prompt="c", answers=("w",), kind="Synonym")


@pytest.mark.parametrize(
    ("sentence", "relation", "old", "found"),
    [
        ("The name of the mother of This is Us is Ann.", "MOTHER", None, None),
        (
            "The name of the mother of This is Us is Ann.",
            "MOTHER",
            "The name of the mother of This is Us is Eve B.",
            ("This is Us", "Ann", "Eve B"),
        ),
        ("The occupation of Ann Lee is singer.", "OCCUPATION", None, ("Ann Lee", "singer", None)),
        ("The names of the siblings of Ann are Eve.", "SIBLING", None, ("Ann", "Eve", None)),
        ("Help! follows A Hard Day's Night.", "FOLLOWS", None, ("Help!", "A Hard Day's Night", None)),
        (
            "The name of the head of state of Peru is Ann.",
            "HEAD_OF_STATE",
            "The name of the head of state of Chile is Eve.",
            None,
        ),
        ("The gender of  is male.", "SEX_OR_GENDER", None, None),
    ],
)
def test_the_subject_of_a_sentence_of_ripple_edits(
    sentence: str, relation: str, old: str | None, found: tuple[str, ...] | None
) -> None:
    edit = {"prompt": sentence, "relation": relation} | ({} if old is None else {"previous_fact": {"prompt": old}})
    record = {"example_type": "popular", "edit": edit}
    if found is None:
        with pytest.raises(ValueError, match=r"can be read in 2 ways|does not read"):
            FORMATS["ripple"].read(record, "line 1")
        return
    [fact] = FORMATS["ripple"].read(record, "line 1")
    assert (fact.subject, fact.target, fact.original) == found
    assert f"{fact.filled} {fact.target}." == sentence


def test_a_rewrite_that_stands_in_an_instance_twice_is_one_fact() -> None:
    rewrites = GOOD["mquake"]["requested_rewrite"]
    facts = FORMATS["mquake"].read(GOOD["mquake"] | {"requested_rewrite": [*rewrites, rewrites[0]]}, "line 1")
    assert facts == READ["mquake"]


def test_mquake_keeps_the_text_of_the_sample(shared_data: Path) -> None:
    records = json.loads((shared_data / "mquake_cf.json").read_text(encoding="utf-8"))
    for record in records:
        facts = FORMATS["mquake"].read(record, "x")
        rewrites = record["requested_rewrite"]
        assert [fact.filled for fact in facts] == [one["prompt"].replace("{}", one["subject"]) for one in rewrites]
        assert {fact.instances for fact in facts} == {facts[0].instances}
        [instance] = facts[0].instances
        assert instance.edits == len(facts)
        assert instance.answers == (record["new_answer"], *dict.fromkeys(record["new_answer_alias"]))
        edited = {(fact.filled, fact.target) for fact in facts}
        assert edited <= {(hop.prompt, hop.answers[0]) for hop in instance.hops}
