"""Ids: the same for the same declared things, and no other."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfolder.errors import InputError
from rect import models, regularizers
from sweeps.plan.identity import Plan, identify, make_plan
from tests.sweeps.small import small_config
from tests.tiny import save_tiny

TINY = Path("/nowhere/tiny")  # plans need no weights, so the folder need not be there


def plan(**changes: Any) -> Plan:
    return make_plan(small_config(TINY, **changes))


def ids(one: Plan) -> set[str]:
    return {cell.id for cell in one.cells}


def operations(one: Plan, n: int = 3) -> dict[str, list[str]]:
    return {str(cell): [operation.id for operation in one.operations(cell, n)] for cell in one.cells if cell.method}


def evaluations(one: Plan) -> set[str]:
    return set(one.wanted(one.cells[1]))


def test_the_same_configuration_gives_the_same_ids_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(small_config(TINY).as_yaml())
    code = (
        "import json; from sweeps.config import config; from sweeps.plan import identity;"
        f"plan = identity.make_plan(config.load({str(tmp_path / 'small.yaml')!r}));"
        "print(json.dumps([cell.id for cell in plan.cells]))"
    )
    root = Path(__file__).resolve().parents[3]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True).stdout
    assert json.loads(found) == [cell.id for cell in plan().cells]


def test_all_cells_differ() -> None:
    assert len(ids(plan())) == len(plan().cells) == 5


def test_all_k_share_the_first_operation_and_no_other() -> None:
    chains = list(operations(plan()).values())
    assert len({chain[0] for chain in chains}) == 1
    assert len({chain[1] for chain in chains}) == len(chains)
    assert len({operation for chain in chains for operation in chain}) == 1 + 2 * len(chains)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": [{"kind": "instance-sequential", "edits": 7, "checkpoints": [1, 2, 7]}]},
        {"tasks": {"names": "all", "examples": 3}},
        {"tasks": {"names": ["nli"], "examples": 30}},
        {"engine": {"name": "transformers", "dtype": "bfloat16"}},
        {"resources": {"cpus": 8}},
        {"name": "other"},
    ],
    ids=["edits", "tasks", "examples", "engine", "resources", "name"],
)
def test_growing_a_sweep_changes_no_cell_and_no_operation(changes: dict[str, Any]) -> None:
    assert ids(plan(**changes)) == ids(plan())
    assert operations(plan(**changes)) == operations(plan())


def test_more_k_and_seeds_add_cells() -> None:
    more = plan(regularizers=["none", {"name": "rect", "k": [20, 50, 60]}, {"name": "random", "k": 40}], seeds=[0, 1])
    assert ids(plan()) < ids(more)


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": [{"name": "rome", "hparams": {"v_num_grad_steps": 4}}]},
        {"models": [{"name": str(TINY), "revision": "main"}]},
        {"models": [{"name": str(TINY), "dtype": "bfloat16"}]},
        {"edits": {"source": "bundled", "count": 9}},
        {"seed": 1},
    ],
    ids=["hparams", "revision", "dtype", "facts", "seed"],
)
def test_what_a_computation_depends_on_changes_its_cells(changes: dict[str, Any]) -> None:
    edited = {cell.id for cell in plan().cells if cell.method}
    assert not edited & ids(plan(**changes))


def test_ids_are_made_of_content(tmp_path: Path) -> None:
    one, other, moved = tmp_path / "one", tmp_path / "other" / "one", tmp_path / "moved"
    save_tiny("llama", one)
    save_tiny("llama", other, seed=1)
    shutil.copytree(one, moved)
    first = make_plan(small_config(one))
    assert ids(make_plan(small_config(moved))) == ids(first)  # the same model elsewhere
    assert not ids(make_plan(small_config(other))) & ids(first)
    contents = {str(one): models.content(str(one))}
    shutil.rmtree(one)
    assert ids(make_plan(small_config(one), contents)) == ids(first)  # known where the model is not
    assert not ids(make_plan(small_config(one))) & ids(first)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_another_byte_under_the_same_name_is_another_model(tmp_path: Path, name: str) -> None:
    save_tiny("llama", tmp_path / "model")
    first = make_plan(small_config(tmp_path / "model"))
    file = tmp_path / "model" / name
    if name == "model.safetensors":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    else:
        file.write_text(file.read_text() + " ")
    second = make_plan(small_config(tmp_path / "model"))
    assert not ids(first) & ids(second)
    assert not {one for chain in operations(first).values() for one in chain} & {
        one for chain in operations(second).values() for one in chain
    }


def test_one_model_under_two_names_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    both = [str(tmp_path / "one"), str(tmp_path / "two")]
    with pytest.raises(InputError, match=r"models: .*one and .*two are the same model"):
        make_plan(small_config(TINY, models=both))
    lower = [both[0], {"name": both[1], "dtype": "bfloat16"}]
    assert len(make_plan(small_config(TINY, models=lower)).cells) == 10


def test_regularizers_have_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan()
    of_rect = next(cell for cell in before.cells if cell.regularizer == "rect")
    first = list(before.operations(of_rect, 2))
    newer = replace(regularizers.REGULARIZERS["rect"], version="next")
    monkeypatch.setitem(regularizers.REGULARIZERS, "rect", newer)
    changed = {cell.regularizer for cell in before.cells if cell.id not in ids(plan())}
    assert changed == {"rect"}
    second = list(plan().operations(of_rect, 2))
    assert first[0].id == second[0].id  # the raw update of the first operation is shared by all regularizers
    assert (first[0].state, first[1].id) != (second[0].state, second[1].id)


def test_evaluations_depend_on_examples_and_engine() -> None:
    before = evaluations(plan())
    assert len(evaluations(plan(tasks={"names": ["nli", "summarization", "ner"], "examples": 3})) - before) == 1
    assert len(evaluations(plan(tasks={"names": ["nli", "summarization"], "examples": 4})) & before) == 3
    lower = plan(engine={"name": "transformers", "dtype": "bfloat16", "max_model_len": 256})
    assert len(evaluations(lower) & before) == 1  # statistics of the weights


def test_missing_is_what_the_store_lacks() -> None:
    one = plan()
    cell = one.cells[1]
    wanted = set(one.wanted(cell))
    assert one.missing(cell, set()) == {1: wanted, 3: wanted}
    first = min(wanted)
    done = {(cell.id, 1, evaluation) for evaluation in wanted} | {(cell.id, 3, first)}
    assert one.missing(cell, done) == {3: wanted - {first}}


def test_masks_have_one_seed_for_all_k_and_another_per_operation() -> None:
    one = plan(regularizers=[{"name": "random", "k": [20, 40]}])
    seeds = [[operation.seed for operation in one.operations(cell, 3)] for cell in one.cells[1:]]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3


def test_facts_are_a_prefix_of_the_longer_sequence() -> None:
    one = plan()
    cell = one.cells[1]
    assert one.edited(cell, 2) == one.edited(cell, 8)[:2]
    assert one.edited(cell, 10)[8:] == one.edited(cell, 2)  # eight facts, repeated


def test_identify_is_canonical() -> None:
    assert identify({"b": 1, "a": [1.0, None]}) == identify({"a": [1.0, None], "b": 1})
    assert identify("1") != identify(1)
    with pytest.raises(ValueError, match="JSON"):
        identify(float("nan"))


def test_too_many_facts_asked_for() -> None:
    with pytest.raises(InputError, match=r"edits\.count: 5000 facts are asked for, bundled has"):
        plan(edits={"source": "bundled", "count": 5000})


def test_a_plan_with_a_task_of_ones_own_can_be_sent_to_workers(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    record = {"question": "the capital of France?", "answer": "Paris"}
    file.write_text(
        json.dumps({"name": "mine", "prompt": "Q: {question} A:", "rule": "contains", "examples": [record]})
    )
    one = plan(tasks={"names": ["nli", str(file)], "examples": 2})
    file.unlink()
    sent = pickle.loads(pickle.dumps(one))
    assert sent.questions[1].name == "mine"
    assert sent.questions[1].task.prompt(sent.questions[1].examples[0]) == "Q: the capital of France? A:"
    assert [cell.id for cell in sent.cells] == [cell.id for cell in one.cells]
    assert sent.wanted(sent.cells[1]) == one.wanted(one.cells[1])
    assert next(sent.operations(sent.cells[1], 1)) == next(one.operations(one.cells[1], 1))


def test_to_unpack_a_job_needs_nothing_heavy() -> None:
    code = (
        "import sys, sweeps.run.job;"
        "print(sorted({'torch', 'transformers', 'ray', 'vllm', 'datasets'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
