"""Facts that repeat or contradict each other are told of, and counted once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modelfolder.errors import InputError
from rect import EditableModel
from rect.facts import Fact, Locality
from rect.update import Dense, Update
from sweeps.config.config import MethodSpec, ModelSpec
from sweeps.plan import edit_set
from sweeps.plan.grid import Cell
from sweeps.plan.identity import make_plan
from sweeps.run import measure
from tests.sweeps.small import small_config
from tests.tiny import save_tiny, tiny_model

FACTS = tuple(
    Fact(subject=subject, prompt="The capital of {} is", target="Rome", original="Paris")
    for subject in ("France", "Spain", "Italy")
)


def cell(edits: int, batch_size: int = 1) -> Cell:
    return Cell(
        ModelSpec(name="tiny"), MethodSpec(name="rome"), "instance-sequential", batch_size, checkpoints=(1, edits)
    )


def test_nothing_is_said_where_nothing_is_odd() -> None:
    assert edit_set.notes(FACTS, [cell(3)]) == []
    assert edit_set.notes(FACTS, [Cell(ModelSpec(name="tiny"))]) == []


def test_more_edits_than_facts_are_told() -> None:
    for one in (cell(7), cell(4, batch_size=2)):
        (line,) = edit_set.notes(FACTS, [cell(2), one])
        assert line.startswith(
            f"facts: the edit set has 3 facts, up to {one.checkpoints[-1] * one.batch_size} are edited"
        )
        assert "repeat, each up to 3 times" in line


def test_instances_are_edited_whole_where_a_method_can(tmp_path: Path) -> None:
    """Two instances of MQuAKE, of three and of one rewrite: MEMIT edits each at once, ROME fact by fact."""
    records = []
    for case, subjects in ((1, ("Oslo", "Rome", "Peru")), (2, ("Bonn",))):
        rewrites = [{"prompt": "{} is in", "subject": one, "target_new": {"str": "Asia"}} for one in subjects]
        records.append({"case_id": case, "requested_rewrite": rewrites, "questions": ["q"], "new_answer": "a"})
    (tmp_path / "x.json").write_text(json.dumps(records))
    config = small_config(
        save_tiny("llama", tmp_path / "model"),
        edits={"source": str(tmp_path / "x.json"), "format": "auto"},
        methods=["memit", "rome"],
        settings=[
            {"kind": "batch-sequential", "batch_sizes": [1], "edits": 2, "methods": ["memit"]},
            {"kind": "instance-sequential", "edits": 4, "methods": ["rome"]},
        ],
        regularizers=["none"],
        tasks={},
    )
    plan = make_plan(config)
    assert plan.config.edits.format == "mquake"
    memit, rome = ([*plan.operations(cell, cell.checkpoints[-1])] for cell in plan.cells if cell.method)
    assert sorted(len(one.facts) for one in memit) == [1, 3]
    assert [len(one.facts) for one in rome] == [1, 1, 1, 1]
    assert [fact for one in memit for fact in one.facts] == [fact for one in rome for fact in one.facts]
    assert edit_set.notes(plan.facts, plan.cells) == []
    more = [cell.__class__(**{**vars(cell), "checkpoints": (5,)}) for cell in plan.cells if cell.method]
    lines = edit_set.notes(plan.facts, more)
    assert [line[:54] for line in lines] == [
        "facts: the edit set has 2 instances, up to 5 are edite",
        "facts: the edit set has 4 facts, up to 5 are edited in",
    ]
    with pytest.raises(InputError, match=r"edits.count: 3 facts are asked for, .*x.json has 2"):
        make_plan(config.model_copy(update={"edits": config.edits.model_copy(update={"count": 3})}))
    first = make_plan(config.model_copy(update={"edits": config.edits.model_copy(update={"count": 1})}))
    assert [fact.subject for fact in first.facts] == ["Oslo", "Rome", "Peru"]


def test_doubles_and_contradictions_are_told() -> None:
    other = FACTS[0].model_copy(update={"target": "Madrid"})
    (line,) = edit_set.notes([*FACTS, other], [cell(3)])
    assert line.startswith("facts: 1 prompts have several targets, such as 'The capital of France is'")
    same = FACTS[1].model_copy(update={"rephrasings": ("Spain's capital is",)})
    (line,) = edit_set.notes([*FACTS, same], [cell(3)])
    assert line == (
        "facts: 1 edits stand in the edit set more than once, such as 'The capital of Spain is'; "
        "edit metrics count each once"
    )
    again = FACTS[1].model_copy(update={"id": "another"})
    assert edit_set.notes([*FACTS, again], [cell(3)]) == [line]


def test_a_fact_that_was_edited_twice_counts_once() -> None:
    model = EditableModel(*tiny_model("llama"), name="tiny")
    unedited = measure.Unedited()
    unedited.remember(model, FACTS)
    renamed = FACTS[1].model_copy(update={"id": "another"})
    once, twice, under_two_ids = (
        {row["name"]: (row["value"], row["n"], row["stderr"]) for row in measure.editing(model, facts, unedited, "e")}
        for facts in (FACTS, [*FACTS, FACTS[0], FACTS[0]], [*FACTS, renamed])
    )
    assert once["reliability/token_accuracy"][1] == 3
    assert repr(twice) == repr(once) == repr(under_two_ids)


def test_an_edit_in_two_records_is_asked_with_the_prompts_of_both() -> None:
    """As one fact whose record holds them all, measured by itself."""
    model = EditableModel(*tiny_model("llama"), name="tiny")
    prompts = [("Its capital, France's, is", "Madrid is in"), ("France is governed from", "Berlin is in")]
    first, second = (
        FACTS[0].model_copy(update={"id": text, "rephrasings": (text,), "locality": (Locality(prompt=place),)})
        for text, place in prompts
    )
    whole = Fact(
        **FACTS[0].model_dump(include={"subject", "prompt", "target", "original"}),
        rephrasings=[text for text, _ in prompts],
        locality=[{"prompt": place} for _, place in prompts],
    )
    found = []
    matrix = model.mlp_out_name(0)
    torch.manual_seed(0)
    changed = Update({matrix: Dense(torch.randn_like(model.weight(matrix)))})
    for facts in ([first, FACTS[1], second], [whole, FACTS[1]]):
        unedited = measure.Unedited()
        unedited.remember(model, facts)
        with model.edited(changed):
            found.append(measure.editing(model, facts, unedited, "e"))
    assert repr(found[0]) == repr(found[1])
    assert {row["n"] for row in found[0] if row["name"] == "reliability/token_accuracy"} == {2}
