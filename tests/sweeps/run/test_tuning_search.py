"""The search for hyperparameters: against all settings one by one, and on a tiny model with the real editors."""

from __future__ import annotations

import itertools
import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from rect import editors, evaluation, perplexity
from rect.facts import Fact
from rect.model import EditableModel
from sweeps.plan import tuning
from sweeps.plan.tuning import Operation, Setting
from sweeps.run import measure
from sweeps.run.bench import Bench, Here, Task
from sweeps.run.tuning import GIVEN_UP, Asked, Search, confirm, operations
from tests import tiny

CHOICES = {"layers": [[0], [1], [2]], "v_lr": [0.1, 0.2], "mom2_adjustment": [False, True]}
NOW = {"layers": [1], "v_lr": 0.2, "mom2_adjustment": False, "v_num_grad_steps": 25}


def fact(number: int) -> Fact:
    return Fact(subject=f"Town {number}", prompt="{} lies in", target="Norway", id=f"town-{number}")


class Table:
    """Success and drift of every setting and fact, drawn once by their names: an objective that is known whole."""

    def __init__(self) -> None:
        self.asked: list[Task] = []

    def measure(self, task: Task) -> Operation:
        self.asked.append(task)
        shown = {key: task.values[key] for key in CHOICES}
        if shown == {"layers": [0], "v_lr": 0.1, "mom2_adjustment": True}:
            return Operation((), (), math.nan, 0.0, "NaN")
        draw = zlib.crc32(json.dumps([shown, [one.id for one in task.facts]]).encode())
        success = tuple(((draw >> 3 * i) % 4) / 3 for i, _ in enumerate(task.facts))
        return Operation(success, (math.nan,) * len(success), draw % 1000 / 1000, 0.0)


def asked(method: str = "rome", facts: int = 5) -> Asked:
    return Asked("content", "float32", method, NOW, CHOICES, tuple(map(fact, range(facts))))


def search(folder: Path, table: Any, trials: int = 99, said: list[str] | None = None) -> list[Setting]:
    def say(_setting: Setting, how: str) -> None:
        if said is not None:
            said.append(how)

    return Search(asked(), folder, trials, say).run(Here(table))


def everything() -> list[Setting]:
    """All settings, each on all facts."""
    wanted = asked()
    found = []
    for values in itertools.product(*CHOICES.values()):
        named = dict(zip(CHOICES, values, strict=True))
        done = [
            Table().measure(Task("rome", {**NOW, **named}, facts)) for facts in operations(wanted.method, wanted.facts)
        ]
        found.append(Setting(named, tuple(done), (1,) * 5))
    return found


def test_it_picks_what_measuring_everything_picks(tmp_path: Path) -> None:
    table, said = Table(), list[str]()
    tried = search(tmp_path, table, said=said)
    best, found = tuning.pick(everything()), tuning.pick(tried)
    assert best is not None
    assert found is not None
    assert (found.values, found.success, found.drift) == (best.values, best.success, best.drift)
    assert len(tried) == 12
    assert tried[0].values == {key: NOW[key] for key in CHOICES}, "the values of now are the first"
    assert [one.values["layers"] for one in tried[1:3]] == [[0], [2]], "then the candidates"
    assert said.count("NaN") == 1
    assert said.count(GIVEN_UP) >= 3
    assert len(table.asked) <= 12 * 5 - 4 - said.count(GIVEN_UP)


def test_a_search_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Mortal(Table):
        def measure(self, task: Task) -> Operation:
            if len(self.asked) == 9:
                raise Killed
            return super().measure(task)

    through = search(tmp_path / "through", Table())
    measured = []
    for _ in range(20):
        table = Mortal()
        try:
            tried = search(tmp_path / "killed", table)
        except Killed:
            measured += table.asked
            with (tmp_path / "killed" / "edits.jsonl").open("a") as file:
                file.write('{"id": "cut o')
        else:
            measured += table.asked
            break
    names = [json.dumps([dict(task.values), [one.id for one in task.facts]]) for task in measured]
    assert len(names) == len(set(names)), "nothing is measured twice"
    assert len(names) > 9
    best, found = tuning.pick(through), tuning.pick(tried)
    assert best is not None
    assert found is not None
    assert (found.values, found.success) == (best.values, best.success)


def test_so_many_settings_in_all_sessions_together(tmp_path: Path) -> None:
    assert len(search(tmp_path, Table(), 3)) == 3
    again = Table()
    assert len(search(tmp_path, again, 3)) == 3
    assert not again.asked
    assert len(search(tmp_path, again, 5)) == 5


def test_other_facts_are_another_study_and_what_they_share_is_kept(tmp_path: Path) -> None:
    search(tmp_path, Table(), 2)
    table = Table()
    more = asked(facts=7)
    Search(more, tmp_path, 1, lambda *_: None).run(Here(table))
    assert [one.id for task in table.asked for one in task.facts] == ["town-5", "town-6"]
    assert more.study != asked().study


def test_confirming_measures_each_once(tmp_path: Path) -> None:
    table, facts = Table(), list(map(fact, range(10, 16)))
    values = [{**NOW, "v_lr": 0.1}, {**NOW, "layers": [2]}, {**NOW, "v_lr": 0.1}]
    both = confirm(asked("memit"), tmp_path, values, facts, Here(table))
    assert [len(task.facts) for task in table.asked] == [4, 2, 4, 2]
    assert both[2] == both[0], "what was picked may be what was used before"
    assert all(one.whole for one in both)
    assert both[1].operations[1] == table.measure(table.asked[3])
    again = Table()
    assert confirm(asked("memit"), tmp_path, values, facts, Here(again)) == both
    assert not again.asked


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_tiny("llama", tmp_path_factory.mktemp("tiny"))


def test_one_operation_is_an_edit_a_look_and_back(folder: Path) -> None:
    """Against the parts by hand; the drift from the logits of whole passes, in double precision."""
    bench, one = Bench(str(folder)), Fact(
        subject="France", prompt="The capital of {} is", target="Rome", rephrasings=("In France they govern from",)
    )  # fmt: skip
    values = {
        "layers": [1],
        "v_num_grad_steps": 5,
        "mom2_adjustment": False,
        "context_template_length_params": [[3, 2]],
    }
    found = bench.measure(Task("rome", values, (one,)))
    assert not bench.model.changed()

    model = EditableModel.load(folder)
    before = _says(model)
    with model.edited(editors.create("rome", model, values).compute(model, [one])):
        scores = evaluation.evaluate(model, [one]).per_fact
        now = _says(model)
    expected = (before.exp() * (before - now)).sum(-1).mean()
    assert found.drift == pytest.approx(float(expected), rel=1e-4)
    assert found.drift > 1e-6
    assert found.reliability == scores[evaluation.RELIABILITY]
    assert found.generalization == scores[evaluation.GENERALIZATION]
    assert bench.measure(Task("rome", values, (one,))).drift == found.drift


def _says(model: EditableModel) -> torch.Tensor:
    starts = [" ".join(text.split()[: measure.DRIFT_WORDS]) for text in perplexity.neutral_paragraphs()]
    with torch.no_grad():
        rows = [model.hf(torch.tensor([model.tokenizer(text)["input_ids"]])).logits[0, -1] for text in starts]
    return torch.stack(rows).double().log_softmax(-1)
