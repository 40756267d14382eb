"""Facts that a model cannot be edited with: skipped in public data, an error in one's own, the same everywhere."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.console import Console

from modelfolder.errors import InputError
from rect import editors, evaluation
from rect.facts import Fact
from rect.model import EditableModel
from sweeps.commands import show_plan
from sweeps.config.config import Config, EditsSpec
from sweeps.plan import edit_set, kept, skipped
from sweeps.plan.identity import Plan, make_plan
from sweeps.report import gather
from sweeps.store.store import Store
from tests.sweeps.small import STEPS, run_here, small_config
from tests.tiny import save_tiny, tiny_model

LONG = "In the long history of the old bridge over the river people speak of many films. " * 12
PLACES = ("France", "Spain", "Italy", "Paris", "Ulm", "Rome", "the Moon", "the Earth")
BAD = {1: "prompt", 3: "paraphrase_prompts", 6: "neighborhood_prompts"}  # index of a fact: what of it is too long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("gpt2", tmp_path_factory.mktemp("model"))


def record(index: int, place: str) -> dict[str, Any]:
    long = {BAD[index]: LONG} if index in BAD else {}
    return {
        "case_id": index,
        "requested_rewrite": {
            "prompt": long.get("prompt", "") + "The capital of {} is",
            "subject": place,
            "target_new": {"str": "Rome"},
            "target_true": {"str": "Paris"},
        },
        "paraphrase_prompts": [long.get("paraphrase_prompts", "") + f"The capital of {place} is"],
        "neighborhood_prompts": [long.get("neighborhood_prompts", "") + "People speak"],
    }


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A file in the format of CounterFact, three of its eight records too long for a context of 256."""
    file = tmp_path / "counterfact.json"
    file.write_text(json.dumps([record(*pair) for pair in enumerate(PLACES)], indent=0))
    return file


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.jsonl"
    facts = [{"subject": place, "prompt": "The capital of {} is", "target": "Rome"} for place in PLACES]
    facts[4]["rephrasings"] = [LONG + "The capital of Ulm is"]  # type: ignore[assignment]
    file.write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    return file


def of(folder: Path, file: Path, count: int = 3, **changes: Any) -> Config:
    setting = {"kind": "instance-sequential", "edits": count, "checkpoints": [1, count]}
    source = {"source": str(file), "format": "counterfact" if file.suffix == ".json" else "facts"}
    defaults = {"edits": source, "settings": [setting], "regularizers": ["none"]}
    return small_config(folder, **{**defaults, **changes})


def drawn(plan: Plan, n: int = 5) -> list[Fact]:
    return plan.edited(plan.cells[1], n)


def test_what_is_skipped_is_what_a_model_refuses(folder: Path, public: Path, tmp_path: Path) -> None:
    plan = skipped.look(make_plan(of(folder, public, count=8)), Store(tmp_path / "out"))
    (found,) = plan.skipped.values()
    model = EditableModel.load(str(folder))
    editor = editors.create("rome", model, STEPS)
    refused = set()
    for index, fact in enumerate(plan.facts):
        try:
            editor.compute(model, [fact])
            evaluation.evaluate(model, [fact], evaluation.locality_baseline(model, [fact]))
        except InputError:
            refused.add(index)
    assert refused == set(found) == set(BAD)
    assert sorted(fact.subject for fact in drawn(plan)) == sorted(set(PLACES) - {PLACES[i] for i in BAD})
    (line,) = skipped.notes(plan)
    assert line.startswith(f"facts: 3 of 8 skipped for {folder}: {public}, line ")
    assert "rephrasing 1 has" in line
    said = Console(record=True, width=500, file=io.StringIO())
    show_plan.show(plan.config, str(tmp_path / "out"), said)
    assert f"note {line}" in said.export_text()


def test_the_others_keep_their_order_and_all_is_measured(folder: Path, public: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    whole = make_plan(of(folder, public))
    plan = skipped.look(whole, store)
    order = [fact.subject for fact in drawn(whole, 8) if fact.subject not in {PLACES[i] for i in BAD}]
    assert [fact.subject for fact in drawn(plan, 3)] == order[:3]
    run_here(plan, store)
    assert not any(plan.missing(cell, store.done()) for cell in plan.cells)


def test_who_has_no_tokenizer_draws_the_same(folder: Path, public: Path, tmp_path: Path) -> None:
    copy, store = tmp_path / "copy", Store(tmp_path / "out")
    shutil.copytree(folder, copy)
    plan = skipped.look(make_plan(of(copy, public, count=5)), store)
    again = make_plan(of(copy, public, count=5))
    for file in copy.glob("tokenizer*"):
        file.unlink()
    assert drawn(skipped.known(again, store)) == drawn(skipped.look(again, store)) == drawn(plan) != drawn(again)
    more = make_plan(of(copy, public, count=5, seed=1))
    with pytest.raises(InputError, match="tokenizer"):  # other facts come first: they would have to be looked at
        skipped.look(more, Store(tmp_path / "other"))


def test_a_grown_sweep_keeps_its_ids(folder: Path, public: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    small, large = (skipped.look(make_plan(of(folder, public, count=n)), store) for n in (1, 5))
    assert [cell.id for cell in small.cells] == [cell.id for cell in large.cells]
    (few,), (all_of_them,) = small.skipped.values(), large.skipped.values()
    assert set(few) < set(all_of_them)
    first, second = (next(plan.operations(plan.cells[1], 1)) for plan in (small, large))
    assert first == second


def test_ids_say_that_facts_may_be_skipped(folder: Path, public: Path) -> None:
    lenient = make_plan(of(folder, public))
    edits = {"source": str(public), "format": "counterfact", "strict": True}
    strict = make_plan(of(folder, public, edits=edits))
    assert lenient.facts == strict.facts
    assert lenient.cells[1].id != strict.cells[1].id
    assert lenient.cells[0].id == strict.cells[0].id  # the unedited model draws none


def test_ones_own_fact_is_an_error_that_names_its_line(folder: Path, own: Path, public: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    with pytest.raises(InputError) as caught:
        skipped.look(make_plan(of(folder, own, count=8)), store)
    assert str(caught.value).startswith(f"{own}, line 5: rephrasing 1 has ")
    assert str(caught.value).endswith(f" tokens, the model's context 256; the model is {folder}")
    edits = {"source": str(public), "format": "counterfact", "strict": True}
    with pytest.raises(InputError, match=r"line \d+: .* \(and 2 more\); the model is"):
        skipped.look(make_plan(of(folder, public, 8, edits=edits)), store)
    assert not store.folder.names("skipped")


def test_facts_that_no_cell_draws_are_not_looked_at(folder: Path, own: Path, tmp_path: Path) -> None:
    plan = make_plan(of(folder, own, count=1))
    seed = next(s for s in range(9) if own and drawn(make_plan(of(folder, own, 1, seed=s)), 1)[0].subject != "Ulm")
    plan = make_plan(of(folder, own, count=1, seed=seed))
    assert skipped.look(plan, Store(tmp_path / "out")).skipped == {plan.config.models[0]: {}}


def test_a_data_set_of_which_nothing_is_left_is_refused(folder: Path, public: Path, tmp_path: Path) -> None:
    public.write_text(json.dumps([record(1, "France"), record(3, "Spain")]))
    with pytest.raises(InputError, match=r"can be edited with none of 2; .*, line 1: the edit prompt with"):
        skipped.look(make_plan(of(folder, public, count=1)), Store(tmp_path / "out"))


def test_repetition_is_counted_without_what_is_skipped(folder: Path, public: Path, tmp_path: Path) -> None:
    plan = skipped.look(make_plan(of(folder, public, count=11)), Store(tmp_path / "out"))
    (line,) = edit_set.notes(plan.facts, plan.cells, plan.skipped)
    assert "has 8 facts (3 of them are skipped), up to 11 are edited in a cell: they repeat, each up to 3 times" in line
    assert max(drawn(plan, 11).count(fact) for fact in plan.facts) == 3


def test_the_report_names_the_facts_that_were_drawn(folder: Path, public: Path, tmp_path: Path) -> None:
    whole, stores = make_plan(of(folder, public)), [Store(tmp_path / "out"), Store(tmp_path / "whole")]
    plan = skipped.look(whole, stores[0])
    for store, written in zip(stores, (plan, whole), strict=True):
        kept.write(written, store)
    rows = pd.DataFrame({"name": ["reliability/preference/fact-0", "reliability/preference/fact-2"]})
    names = gather._fact_names(kept.kept_plan(stores[0]), rows)
    assert names[f"0 {folder}"] == [f"{fact.filled}: Rome" for fact in drawn(plan, 3)]
    assert names["0"] == [f"{fact.filled}: Rome" for fact in drawn(whole, 3)] != names[f"0 {folder}"]
    assert set(gather._fact_names(kept.kept_plan(stores[1]), rows)) == {"0"}


def test_a_word_that_the_model_has_no_embedding_for(tmp_path: Path) -> None:
    folder = save_tiny("gpt2", tmp_path / "model")
    _, tokenizer = tiny_model("gpt2")
    tokenizer.add_tokens(["zyzzyva"])
    tokenizer.save_pretrained(folder)
    model = EditableModel.load(str(folder))
    plain = {"subject": "France", "prompt": "The capital of {} is", "target": "Rome", "original": "Paris"}
    for change in (
        {"subject": "zyzzyva"},
        {"target": "zyzzyva"},
        {"original": "zyzzyva"},
        {"rephrasings": ["The zyzzyva of France is"]},
        {"locality": [{"prompt": "People speak zyzzyva"}]},
        {"locality": [{"prompt": "People speak", "answer": "zyzzyva"}]},
    ):
        file = tmp_path / "own.jsonl"
        file.write_text(json.dumps(plain) + "\n" + json.dumps({**plain, **change}))
        plan = make_plan(of(folder, file, 2))
        with pytest.raises(
            InputError, match=r"line 2: .* token 384 \('zyzzyva'\) is none of the model's 384; the model"
        ):
            skipped.look(plan, Store(tmp_path / "out"))
        text = " ".join([plan.facts[1].filled, json.dumps(change)])
        with pytest.raises(IndexError):
            model.hf(torch.tensor([model.tokenizer(text)["input_ids"]]))
    file.write_text(json.dumps(plain))
    skipped.look(make_plan(of(folder, file, 1)), Store(tmp_path / "out"))


def test_room_is_kept_for_prefixes(folder: Path, tmp_path: Path) -> None:
    sampled = [{"prefixes": {"lengths": [[5, 10], [12, 2], [40, 0]]}}, {"prefixes": None}, {}]
    assert edit_set.room(EditsSpec(source="own.jsonl"), sampled) == 38
    assert edit_set.room(EditsSpec(source="own.jsonl"), sampled[1:]) == 0
    assert edit_set.room(EditsSpec(), sampled[1:]) == edit_set.ROOM  # else the facts would depend on the methods

    model = EditableModel.load(str(folder))
    prompt = "The mother tongue of {} is"
    for n in range(1, 400):  # the longest prompt that fits without a prefix, but with none
        text = "a " * n + prompt
        if len(model.tokenizer(text.replace("{}", "France") + " Rome")["input_ids"]) - 1 > 250:
            break
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"subject": "France", "prompt": text, "target": "Rome"}))
    kn = make_plan(of(folder, file, 1, methods=["kn"]))
    assert skipped.look(kn, Store(tmp_path / "kn")).skipped == {kn.config.models[0]: {}}
    with pytest.raises(
        InputError, match=r"line 1: the edit prompt with the target has .* context 256, of which 11 are kept for"
    ):
        skipped.look(make_plan(of(folder, file, 1)), Store(tmp_path / "rome"))
