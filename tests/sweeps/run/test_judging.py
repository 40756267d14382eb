"""A judge of the user's own: what it is told, what becomes of its verdicts, and what is refused of what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from modelfolder.errors import InputError
from sweeps.plan import asked
from sweeps.plan.identity import make_plan
from sweeps.plan.kept import write
from sweeps.run import judging
from sweeps.store.outputs import is_metric
from sweeps.store.store import Store
from tests.sweeps.small import run_here, small_config
from tests.tiny import save_tiny

JUDGE = """
import json, sys
lines = [json.loads(line) for line in sys.stdin]
with open(sys.argv[1], "a") as log:
    log.writelines(json.dumps(line) + chr(10) for line in lines)
for line in reversed(lines):
    print(json.dumps({"id": line["id"], "right": len(line["said"]) % 2 == 0}))
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = save_tiny("llama", tmp_path_factory.mktemp("model"))
    plan = make_plan(small_config(folder, metrics=["generation"], regularizers=["none"], tasks={"names": []}))
    store = Store(tmp_path_factory.mktemp("out"))
    write(plan, store)
    store.put_contents({spec.key: str(content) for spec, content in plan.contents.items()})
    run_here(plan, store)
    return store


def test_verdicts_become_rows_and_nothing_is_judged_twice(swept: Store, tmp_path: Path) -> None:
    script, log = tmp_path / "judge.py", tmp_path / "log.jsonl"
    script.write_text(JUDGE)
    command = [sys.executable, str(script), str(log)]
    before = swept.rows()
    outputs = swept.outputs()
    golds = outputs["gold"].map(json.loads)
    wanted = outputs[[bool(gold["answers"]) for gold in golds]]
    answers, lines = judging.judge(swept.url, command)
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert (answers, lines) == (len(wanted), len(told))
    assert {(one["prompt"], one["said"]) for one in told} == set(zip(wanted["prompt"], wanted["output"], strict=True))
    assert all(one["answer"] == one["said"].strip().split("\n")[0].strip() for one in told)
    assert all(isinstance(one["answers"], list) and one["answers"] for one in told)

    rows = asked.read(swept.url).rows
    added = rows[rows["name"].str.contains("/judged")]
    assert len(swept.rows()) == len(before) + len(added)
    last = wanted[wanted["n_edits"] == 3]
    for kind in ("reliability", "generalization"):
        mine = last[[json.loads(gold)["kind"] == kind for gold in last["gold"]]]
        right = (mine["output"].str.len() % 2 == 0).astype(float)
        per_fact = right.groupby(mine["unit"]).mean()
        row = added[(added["name"] == f"generation/{kind}/judged") & (added["n_edits"] == 3)].iloc[0]
        assert (row["value"], row["n"]) == (pytest.approx(per_fact.mean()), len(per_fact))
        assert row["stderr"] == pytest.approx(per_fact.sem())
        assert (row["method"], row["kind"], row["engine"]) == ("rome", "edit", "transformers")
    assert not added["name"].str.contains("locality").any()
    assert judging.judge(swept.url, command) == (0, 0)
    script.write_text(JUDGE + "# another one\n")
    assert judging.judge(swept.url, command)[0] == answers


@pytest.mark.parametrize(
    ("says", "line"),
    [
        ("print('yes')", r"line 1 of what it said is .*yes.*; an object \{\"id\": ..., \"right\": ...\} is wanted"),
        ("print('[1]')", "line 1 of what it said is"),
        ("print(json.dumps({'id': first['id'], 'right': 'A'}))", "line 1 .* has \"A\" for right; true, false or a"),
        ("print(json.dumps({'id': first['id'], 'right': 2}))", "line 1 of what it said has 2 for right"),
        ("print('{\"id\": \"0\", \"right\": NaN}')", "line 1 of what it said has NaN for right"),
        ("print(json.dumps({'id': 'x', 'right': 1}))", "line 1 of what it said has the id 'x' which it was not asked"),
        ("print(json.dumps({'id': first['id'], 'right': 1}) + '\\n' + json.dumps({'id': first['id'], 'right': 0}))",
         "line 2 of what it said has the id '0' a second time"),
        ("print(json.dumps({'id': first['id'], 'right': True}))", r"it said 1 lines of \d+; one for the id '1' is"),
        ("pass", r"it said 0 lines of \d+"),
        ("sys.exit('no quota')", "ended with 1: no quota"),
        ("sys.stdout.buffer.write(b'\\xff')", "what it said is not UTF-8"),
    ],
)  # fmt: skip
def test_what_it_says_wrongly_is_refused_in_one_line(swept: Store, says: str, line: str) -> None:
    program = f"import json, sys; first = [json.loads(line) for line in sys.stdin][0]; {says}"
    before = len(swept.rows())
    with pytest.raises(InputError, match=line) as caught:
        judging.judge(swept.url, [sys.executable, "-c", program])
    assert "\n" not in str(caught.value)
    assert len(swept.rows()) == before


def test_verdicts_by_kind_and_by_fact() -> None:
    """What is of a kind of portability is portability too; a fact's prompts are averaged before facts are."""
    lines = [
        ("portability/Reasoning", "fact-0", 1.0),
        ("portability/Reasoning", "fact-0", 0.0),
        ("portability/Subject_Aliasing", "fact-0", 1.0),
        ("portability/Reasoning", "fact-11", 0.0),
        ("reliability", "fact-0", 0.5),
    ]
    part = pd.DataFrame(lines, columns=["kind", "unit", "right"]).assign(task="metric generation-chat")
    found = {row["name"]: (row["value"], row["n"]) for row in judging._rows(part, "x")}
    assert found == {
        f"generation-chat/{name}": pytest.approx(figures)
        for name, figures in {
            "portability/judged": (1 / 3, 2),
            "portability/judged/fact-0": (2 / 3, 1),
            "portability/judged/fact-11": (0, 1),
            "portability/Reasoning/judged": (0.25, 2),
            "portability/Reasoning/judged/fact-0": (0.5, 1),
            "portability/Reasoning/judged/fact-11": (0, 1),
            "portability/Subject_Aliasing/judged": (1, 1),
            "portability/Subject_Aliasing/judged/fact-0": (1, 1),
            "reliability/judged": (0.5, 1),
            "reliability/judged/fact-0": (0.5, 1),
        }.items()
    }


def test_only_answers_that_can_be_read_and_be_right_are_judged() -> None:
    right, wrong = ({"kind": "reliability", "answers": answers, "before": ""} for answers in (["Rome"], []))
    lines = [
        ("metric generation", json.dumps(right)),
        ("metric generation", json.dumps(wrong)),
        ("metric generation", None),  # keep_texts: false
        ("nli", json.dumps("entailment")),
    ]
    outputs = pd.DataFrame(lines, columns=["task", "gold"]).assign(prompt="p", output="o")
    said = outputs[is_metric(outputs)]
    assert judging._answers(said).index.tolist() == [0]
    assert judging._answers(said[1:]).empty


def test_no_such_program_and_nothing_to_judge(swept: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="judge no-such-program: cannot be run: No such file"):
        judging.judge(swept.url, ["no-such-program"])
    with pytest.raises(InputError, match="there are no answers to judge"):
        judging.judge(tmp_path, ["true"])
