"""What tasks cannot ask of a model is found before anything is computed: skipped in public data, else an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import pytest

from modelfolder.errors import InputError
from sweeps.config.config import EngineSpec, ModelSpec, TasksSpec
from sweeps.plan.identity import Exam, exam_of
from sweeps.run import driver, prompting, rehearsal
from sweeps.store.store import Store
from tasks.engines.dry_engine import DryEngine
from tasks.engines.transformers_engine import TransformersEngine
from tests.sweeps.small import small_config
from tests.tiny import save_tiny

LIMITS = EngineSpec(name="transformers", max_model_len=256)
LONG = "In the long history of the old bridge over the river people speak of many films. " * 12
NLI = [("The bridge is old.", "The bridge is not new."), ("A film was good.", LONG), (LONG, "A film was bad.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture
def engine(folder: Path) -> Iterator[TransformersEngine]:
    with TransformersEngine(folder, max_model_len=256) as engine:
        yield engine


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set as the tasks read it: the second record's question is too long, the third one's passage."""
    folder = tmp_path_factory.mktemp("data")
    lines = [{"sentence1": one, "sentence2": two, "label": "entailment"} for one, two in NLI]
    (folder / "nli.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def own(folder: Path, *countries: str, **changes: Any) -> str:
    records = [{"country": country, "capital": "Rome", "choices": ["Rome", "Lima"]} for country in countries]
    keys = {"name": "capitals", "prompt": "{country}: its capital is", "answer": "capital", "rule": "first-word"}
    path = folder / "capitals.yaml"
    path.write_text(json.dumps({**keys, "max_new_tokens": 3, "choices": "choices", "examples": records, **changes}))
    return str(path)


def asked(*names: str, source: Path | str = "bundled", **spec: Any) -> list[Exam]:
    wanted = TasksSpec(names=names, source=str(source), **spec)
    return [exam_of(wanted, name, "transformers", LIMITS) for name in names]


def test_a_question_that_is_too_long_is_skipped_and_counted(engine: TransformersEngine, data: Path) -> None:
    for name in ("nli", "nli:likelihood"):
        (one,) = asked(name, source=data)
        (line,) = rehearsal.of_model(ModelSpec(name=str(engine.folder)), [one], LIMITS)
        assert line.startswith(f"{name}: 1 of 3 skipped for {engine.folder}: example 1: the prompt has ")
        assert "even without its passage" in line
        rows, outputs = asking.ask(engine, [one])
        found = {row["name"]: (row["value"], row["n"]) for row in rows}
        assert [row["index"] for row in outputs] == [0, 2]
        assert found[f"{name}/skipped"] == (1, 3)
        assert found[f"{name}/truncated"] == (1, 2)
        assert found[f"{name}/score"][1] == 2
        assert all(row["prompt"].endswith("answer:") for row in outputs)
        assert outputs[0]["prompt"] == one.task.prompt(one.examples[0])


def test_the_budget_is_a_part_of_the_length(folder: Path, tmp_path: Path) -> None:
    """The longest question that is asked fills the context together with what is to be generated."""
    dry = DryEngine(folder, max_model_len=256)
    (one,) = asked(own(tmp_path, *("a" * n for n in range(60, 200)), max_new_tokens=100))
    tokens = list(map(len, dry.texts.encode([one.task.prompt(example) for example in one.examples])))
    one.task.own = False
    found = prompting.prepared(one, dry)
    assert [prompt.index for prompt in found.asked] == [i for i, n in enumerate(tokens) if n + 100 <= 256]
    assert found.asked
    assert found.skipped


def test_ones_own_example_is_an_error_that_names_it(folder: Path, tmp_path: Path) -> None:
    model = ModelSpec(name=str(folder))
    for name in ("", ":likelihood"):
        path = own(tmp_path, "France", LONG, "Peru", LONG)
        (one,) = asked(path + name)
        with pytest.raises(InputError) as caught:
            rehearsal.of_model(model, [one], LIMITS)
        assert str(caught.value).startswith(f"capitals{name}, example 1: the prompt has ")
        assert str(caught.value).endswith(f"(and 1 more of 4); the model is {folder}")


def test_a_task_that_cannot_be_asked_at_all_is_refused(folder: Path, data: Path, tmp_path: Path) -> None:
    model = ModelSpec(name=str(folder))
    with pytest.raises(InputError, match="capitals: 256 tokens are to be generated, the context has 256; the model is"):
        rehearsal.of_model(model, asked(own(tmp_path, "Peru", max_new_tokens=256)), LIMITS)
    with pytest.raises(InputError, match="no chat template"):
        rehearsal.of_model(model, asked("nli", chat_template=True, examples=2), LIMITS)
    (data / "one").mkdir()
    (data / "one" / "nli.jsonl").write_text((data / "nli.jsonl").read_text().splitlines()[1] + "\n")
    with pytest.raises(InputError, match="nli, example 0: the prompt has"):  # public, but nothing is left of it
        rehearsal.of_model(model, asked("nli", source=data / "one"), LIMITS)


def test_a_sweep_is_refused_before_anything_is_there(folder: Path, tmp_path: Path) -> None:
    config = small_config(folder, tasks={"names": ["nli", own(tmp_path, LONG)], "examples": 2})
    with pytest.raises(InputError, match="capitals, example 0"):
        driver.run(config, tmp_path / "out")
    store = Store(tmp_path / "out")
    assert not store.folder.exists("config.yaml")
    assert not store.folder.names("updates")


def test_a_rehearsal_refuses_what_an_engine_refuses(engine: TransformersEngine) -> None:
    dry = DryEngine(engine.folder, max_model_len=256)
    pairs = [("A film", " was good"), ("A film", ""), ("\n", "x"), ("A", " b" * 300), ("", "Rome"), ("a " * 900, " b")]
    for pair in pairs:
        said = []
        for one in (engine, dry):
            try:
                said.append((len(asking.logprobs(one, [pair])), one.truncated))
            except InputError as error:
                said.append(str(error))
        assert said[0] == said[1]
    for prompts, budget in ((["A film"], 0), (["A film"], 256), (["A film", ""], 2)):
        said = []
        for one in (engine, dry):
            try:
                said.append((len(one.generate(prompts, budget)), one.truncated))
            except InputError as error:
                said.append(str(error))
        assert said[0] == said[1]


HARNESS = """
task: films
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc}}]
"""


def test_requests_of_the_harness_that_cannot_be_weighed(engine: TransformersEngine, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the optional extra lm-eval is not installed: pip install lm-eval")
    records = [
        {"question": "A film was", "choices": ["good", "bad"], "label": 0},
        {"question": "A film was", "choices": ["good", LONG], "label": 1},
        {"question": "The Moon moves around", "choices": ["the Earth", "Rome"], "label": 0},
        {"question": " ", "choices": ["the Earth", "Rome"], "label": 0},
    ]
    data, file = tmp_path / "films.jsonl", tmp_path / "films.yaml"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    file.write_text(HARNESS.format(data=data, cache=tmp_path / "cache"))
    model = ModelSpec(name=str(engine.folder))
    (mine,) = asked(f"lm_eval:{file}")
    with pytest.raises(InputError, match=r"lm_eval:films, example 1: a continuation of \d+ tokens .* \(and 1 more\)"):
        rehearsal.of_model(model, [mine], LIMITS)

    (public,) = asked(f"lm_eval:{file}")
    public.task.own = False
    (line,) = rehearsal.of_model(model, [public], LIMITS)
    assert line.startswith(f"lm_eval:films: 2 of 4 skipped for {engine.folder}: example films/1: a continuation of ")
    rows, outputs = asking.ask(engine, [public])
    found = {row["name"]: (row["value"], row["n"]) for row in rows}
    assert [row["index"] for row in outputs] == [0, 2]
    assert found["lm_eval:films/skipped"] == (2, 4)
    assert found["lm_eval:films/score"][1] == 2
    expected = []
    for index in (0, 2):
        record = records[index]
        logprobs = asking.logprobs(engine, [(record["question"], f" {choice}") for choice in record["choices"]])
        expected.append(logprobs.index(max(logprobs)) == record["label"])
        said = json.loads(next(row["output"] for row in outputs if row["index"] == index))
        assert [value for _, value in said] == pytest.approx(logprobs, abs=1e-4)
    assert found["lm_eval:films/score"][0] == sum(expected) / 2
