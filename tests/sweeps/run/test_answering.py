"""Metrics of a model's own words in a sweep: what is said, kept, compared with the unedited model, and asked once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfolder.errors import InputError
from rect import facts, greedy, metrics
from rect.metrics.spoken import has_line
from rect.model import EditableModel
from rect.order import permutation
from rect.update import Update
from sweeps.plan.identity import Plan, make_plan
from sweeps.run import answering, rehearsal
from sweeps.store import journal
from sweeps.store.store import Store
from tasks.engines import EngineError
from tasks.engines.transformers_engine import TransformersEngine
from tests.rect.metrics import test_consistency as alone
from tests.sweeps.small import run_here, small_config
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


def planned(folder: Path, **changes: Any) -> Plan:
    return make_plan(small_config(folder, **({"metrics": ["generation"], "regularizers": ["none"]} | changes)))


@pytest.fixture(scope="module")
def swept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    plan, store = planned(folder, seeds=[0, 1]), Store(tmp_path_factory.mktemp("out"))
    run_here(plan, store)
    return plan, store


def test_answers_are_those_of_the_model_itself(swept: tuple[Plan, Store], folder: Path) -> None:
    plan, store = swept
    model = EditableModel.load(folder)
    outputs = store.outputs()
    for cell in (cell for cell in plan.cells if cell.method):  # the engine has the first one's edits at the second
        drawn = facts.distinct(plan.edited(cell, 1))
        questions = metrics.get("generation").questions(drawn, str)  # type: ignore[union-attr]
        before = [greedy.continuation(model.hf, model.tokenizer, one.text, 50) for one in questions]
        (operation,) = plan.operations(cell, 1)
        with model.edited(store.update(operation.id) or Update({})):
            after = [greedy.continuation(model.hf, model.tokenizer, one.text, 50) for one in questions]
        there = outputs[(outputs["cell"] == cell.id) & (outputs["n_edits"] == 1)]
        mine = there[there["task"] == "metric generation"].sort_values("index")
        assert mine["prompt"].tolist() == [one.text for one in questions]
        befores = [json.loads(gold)["before"] for gold in mine["gold"]]
        for said, text in zip([*mine["output"], *befores], [*after, *before], strict=True):
            assert said == text or (text.startswith(said) and has_line(said))  # it ends early where the line has
        assert before != after


def test_rows_can_be_recomputed_from_the_outputs(swept: tuple[Plan, Store]) -> None:
    plan, store = swept
    cell = next(cell.id for cell in plan.cells if cell.method)
    rows, outputs = (frame[frame["cell"] == cell] for frame in (store.rows(), store.outputs()))
    said = outputs[(outputs["task"] == "metric generation") & (outputs["n_edits"] == 3)]
    golds = said["gold"].map(json.loads)
    for kind, metric in (("reliability", "contains"), ("generalization", "contains"), ("locality", "unchanged")):
        own = said[golds.map(lambda gold, kind=kind: gold["kind"] == kind)]
        row = rows[(rows["name"] == f"generation/{kind}/{metric}") & (rows["n_edits"] == 3)].iloc[0]
        assert row["value"] == pytest.approx(own.groupby("unit")["score"].mean().mean())
        assert row["n"] == own["unit"].nunique() == 3
    places = {fact.filled: place for place, fact in enumerate(facts.distinct(plan.facts))}
    asked = said[golds.map(lambda gold: gold["kind"] == "reliability")]
    assert {prompt: index // 10_000 for prompt, index in zip(asked["prompt"], asked["index"], strict=True)} == {
        prompt: place for prompt, place in places.items() if prompt in set(asked["prompt"])
    }


def test_added_to_a_finished_sweep_it_computes_nothing_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "out")
    run_here(planned(folder, metrics=[]), store)
    before = store.rows()
    updates = {name: store.folder.read(name) for name in store.folder.names("updates")}
    asked: list[int] = []
    ends = set()
    generate = TransformersEngine.generate

    def counted(self: TransformersEngine, prompts: list[str], *how: Any) -> list[str]:
        asked.append(len(prompts))
        ends.add(how)
        return generate(self, prompts, *how)

    monkeypatch.setattr(TransformersEngine, "generate", counted)
    plan = planned(folder, regularizers=["none", {"name": "rect", "k": 20}])
    cells = [cell for cell in plan.cells if cell.regularizer == "none"]
    missing = {name for cell in cells for one in plan.missing(cell, store.done()).values() for name in one}
    assert missing == {plan.kinds["metric generation"]}
    run_here(planned(folder), store)
    spoken = metrics.get("generation")
    assert isinstance(spoken, metrics.Spoken)
    questions = [len(spoken.questions(facts.distinct(plan.edited(cells[-1], n)), str)) for n in (1, 3)]
    assert ends == {(50, has_line)}
    assert asked == [questions[1], *questions]  # the unedited model about all facts, then each checkpoint
    assert {name: store.folder.read(name) for name in store.folder.names("updates")} == updates
    events = [event["event"] for event in journal.events(store.folder)]
    assert events.count("edit-computed") == len(updates)
    keys = ["cell", "n_edits", "evaluation", "kind", "name", "pass"]
    added = store.rows().set_index(keys).index.difference(before.set_index(keys).index)
    assert {kind for kind in added.get_level_values("kind")} == {"edit", "time"}
    assert {name.split("/")[0] for name in added.get_level_values("name") if "/" in name} == {"generation"}
    asked.clear()
    run_here(plan, store)  # another regularizer, a new workplace: the unedited answers are read
    assert asked[0] == questions[0]
    assert asked.count(questions[1]) == 1


def test_without_texts_nothing_is_left_of_them(folder: Path, tmp_path: Path, swept: tuple[Plan, Store]) -> None:
    tasks = {"names": [], "keep_texts": False}
    store = Store(tmp_path)
    run_here(planned(folder, tasks=tasks, seeds=[0, 1]), store)
    assert store.outputs()[["prompt", "output", "gold"]].isna().all(axis=None)
    assert not store.folder.names("unedited")
    mine, other = (one.rows().query("name.str.startswith('generation/')") for one in (store, swept[1]))
    mine, other = (one.set_index(["cell", "n_edits", "name"])["value"] for one in (mine, other))
    assert mine.sort_index().equals(other.sort_index())


def test_an_edit_that_is_made_twice_counts_once(folder: Path, tmp_path: Path) -> None:
    """Its second record lies before another fact's: indices of facts and of questions would part."""
    records = [{"subject": "Anna", "prompt": "{} lives in", "target": "Rome"}] * 3
    records[permutation(3, 0)[-1]] = {"subject": "Jan", "prompt": "{} lives in", "target": "Bern"}
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    settings = [{"kind": "instance-sequential", "edits": 3}]
    how = {"edits": {"source": str(tmp_path / "facts.jsonl")}, "settings": settings, "tasks": {"names": []}}
    store = Store(tmp_path / "out")
    run_here(planned(folder, **how), store)
    rows = store.rows().set_index("name")
    assert rows.loc["generation/reliability/contains", ["n", "n_edits"]].tolist() == [2, 3]
    names = [f"generation/reliability/contains/fact-{place}" for place in (0, 1)]
    assert rows.loc[names, "value"].notna().all()
    outputs = store.outputs().sort_values("index")
    assert outputs["unit"].nunique() == outputs["index"].nunique() == len(outputs) == 2


class Ended:
    """An engine that says nothing any more, or one that does."""

    def __init__(self, dead: bool) -> None:
        self.dead = dead

    def generate(self, prompts: list[str], budget: int) -> list[str]:
        if self.dead:
            raise EngineError("it was killed")
        return [""] * len(prompts)


def test_a_metric_that_fails_is_told_and_an_engine_that_has_ended_ends_the_cell() -> None:
    def call(name: str) -> str:
        if name == "mquake":
            raise ValueError("first line\nsecond")
        return name

    names = ["generation", "mquake", "fluency"]
    found, lost = answering._each(names, Ended(dead=False), call)  # type: ignore[arg-type]
    assert found == ["generation", "fluency"]
    assert {kind: answering.line(error) for kind, error in lost.items()} == {"metric mquake": "ValueError: first line"}
    with pytest.raises(ValueError, match="first line"):
        answering._each(names, Ended(dead=True), call)  # type: ignore[arg-type]


def test_openings_are_a_part_of_the_id_of_what_continues_them(folder: Path, tmp_path: Path) -> None:
    def of(**more: Any) -> Plan:
        fact = {"subject": "Anna", "prompt": "{} lives in", "target": "Rome"} | more
        (tmp_path / "facts.jsonl").write_text(json.dumps(fact) + "\n")
        source = {"source": str(tmp_path / "facts.jsonl")}
        return planned(folder, edits=source, metrics=["generation", "fluency"])

    plain, other = of(), of(openings=["Anna often"])
    assert {kind for kind in plain.kinds if plain.kinds[kind] != other.kinds[kind]} == {"metric fluency"}
    assert [cell.id for cell in plain.cells] == [cell.id for cell in other.cells]


def test_consistency(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows follow from its outputs; what fluency has asked is not asked again; other files are another metric."""
    lines = [fact.model_dump_json(exclude_none=True) + "\n" for fact in alone.FACTS[:2]]
    (tmp_path / "facts.jsonl").write_text("".join(lines))
    given = alone.files(tmp_path / "given")
    edits = {"source": str(tmp_path / "facts.jsonl"), "snippets": str(given)}
    metrics_ = ["fluency", "consistency"]
    settings = [{"kind": "instance-sequential", "edits": 2}]
    how = {"metrics": metrics_, "settings": settings, "tasks": {"names": []}}
    with pytest.raises(InputError, match=r"metrics: 'consistency' needs edits.snippets, a folder with its files"):
        planned(folder, edits=edits | {"snippets": None}, **how)
    asked: list[int] = []
    ends = set()
    generate = TransformersEngine.generate

    def counted(self: TransformersEngine, prompts: list[str], *how: Any) -> list[str]:
        asked.append(len(prompts))
        ends.add(how)
        return generate(self, prompts, *how)

    monkeypatch.setattr(TransformersEngine, "generate", counted)
    plan, store = planned(folder, edits=edits, **how), Store(tmp_path / "out")
    run_here(plan, store)
    assert ends == {(100, None)}
    assert asked == [3, 3, 3, 0]  # unedited by each metric; edited by one
    rows, outputs = store.rows().set_index("name"), store.outputs()
    own = outputs[outputs["task"] == "metric consistency"]
    texts = (own["prompt"] + own["output"]).groupby(own["unit"]).agg(" ".join)
    vectorizer = alone.vectorizer(given)
    wanted = []
    for place, fact in enumerate(plan.edited(plan.cells[-1], 2)):
        about = " ".join(alone.SNIPPETS[fact.attribute or ""])
        a, b = vectorizer.transform([texts[f"fact-{place}"], about]).toarray()
        wanted.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        assert rows.loc[f"consistency/text/cosine/fact-{place}", "value"] == pytest.approx(wanted[-1])
    assert rows.loc["consistency/text/cosine", "value"] == pytest.approx(np.mean(wanted))
    (given / "attribute_snippets.json").write_text((given / "attribute_snippets.json").read_text() + " ")
    other = planned(folder, edits=edits, **how)
    assert {kind for kind in plan.kinds if plan.kinds[kind] != other.kinds[kind]} == {"metric consistency"}


def test_what_an_engine_has_to_do_with_it_is_in_the_id(folder: Path) -> None:
    ids = [
        planned(folder, metrics=[name], engine={"name": "transformers", "max_model_len": length}).kinds[
            f"metric {name}"
        ]
        for name in ("generation", "generation-question", "generation-chat", "counterfact")
        for length in (256, 128)
    ]
    assert len(set(ids)) == 7  # CounterFact's figures need no engine
    assert planned(folder).kinds.keys() - planned(folder, metrics=[]).kinds.keys() == {"metric generation"}


def test_what_cannot_be_asked_is_named_before_anything_is_computed(folder: Path) -> None:
    with pytest.raises(InputError, match="the tokenizer has no chat template"):
        rehearsal.of_plan(planned(folder, metrics=["generation-chat"]), set())
    small = {"engine": {"name": "transformers", "max_model_len": 64}, "tasks": {"names": []}}
    why = (
        r"facts.jsonl, line \d+: \w+ prompt has \d+ tokens, with an answer of 50 more than the context of 64; the model"
    )
    with pytest.raises(InputError, match=why):
        rehearsal.of_plan(planned(folder, **small), set())
    assert rehearsal.of_plan(planned(folder), set()) == []


def test_one_that_cannot_be_asked_costs_its_own_rows(folder: Path, tmp_path: Path) -> None:
    plan, store = planned(folder, metrics=["generation-chat", "generation"]), Store(tmp_path)
    run_here(plan, store)
    left = {one for cell in plan.cells for ids in plan.missing(cell, store.done()).values() for one in ids}
    assert left == {plan.kinds["metric generation-chat"]}
    reasons = {event["reason"] for event in journal.events(store.folder) if event["event"] == "task-failed"}
    assert ["no chat template" in reason for reason in reasons] == [True]
