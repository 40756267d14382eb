"""Tasks of the lm-evaluation-harness on our engines: a multiple-choice and a generation task of its registry.

Their data is local: a file overrides where the registered task takes it from. The harness's own model class is the
independent witness: on a model folder with the same weights it must give the same log-probabilities, texts and scores.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml

import tasks
from sweeps.store.store import Store
from tasks import harness_chance
from tasks.engines.transformers_engine import TransformersEngine
from tests.sweeps.small import computed, small_config, sweep
from tests.tiny import save_tiny

pytest.importorskip("lm_eval", reason="the optional extra lm-eval is not installed: pip install lm-eval")

MATRIX = "model.layers.1.mlp.down_proj.weight"
BOOLQ = [
    {"question": "is water wet", "passage": "Water wets things.", "answer": 1},
    {"question": "is the moon cheese", "passage": "The moon is rock.", "answer": 0},
    {"question": "do cats bark", "passage": "Cats meow.", "answer": 0},
    {"question": "is ten more than nine", "passage": "Ten follows nine.", "answer": 1},
]
GSM8K = [
    {"question": "Tom has 3 apples and buys 15. How many now?", "answer": "3 + 15 = 18\n#### 18"},
    {"question": "It is 4 degrees and falls by 9. How cold?", "answer": "4-9=-5\n#### -5"},
    {"question": "A box has 6 eggs. How many have 2 boxes?", "answer": "2*6=12\n#### 12"},
]


def local(folder: Path, task: str, split: str, records: list[dict[str, Any]], **keys: Any) -> str:
    """A file that runs a registered task on records of our own; its name as `tasks.get` takes it."""
    data = folder / f"{task}.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    where = {"data_files": {split: str(data)}, "cache_dir": str(folder / "cache")}
    path = folder / f"{task}.yaml"
    ours = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": where, "training_split": None}
    path.write_text(yaml.safe_dump({"task": task, **ours, **keys}))
    return f"lm_eval:{path}"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tasks")
    stops = {"until": ["e", "Question:"], "max_gen_toks": 40, "do_sample": False}
    return {
        "boolq": local(folder, "boolq", "validation", BOOLQ, doc_to_target="answer"),
        "gsm8k": local(folder, "gsm8k", "test", GSM8K, num_fewshot=0, fewshot_split=None, generation_kwargs=stops),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    with TransformersEngine(folder, max_model_len=256) as engine:
        yield engine


def edit(engine: TransformersEngine) -> dict[str, torch.Tensor]:
    return {MATRIX: -2 * engine.checkpoint.tensor(MATRIX)}


@pytest.mark.parametrize("name", ["boolq", "gsm8k"])
def test_a_task_of_the_registry_follows_the_weights(
    name: str, names: dict[str, str], engine: TransformersEngine, folder: Path, tmp_path: Path
) -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    task = tasks.get(names[name])
    examples = task.examples()
    assert (task.name, len(examples)) == (f"lm_eval:{name}", {"boolq": 4, "gsm8k": 3}[name])
    engine.restore()
    _, before = task.run(engine, examples)
    engine.load(edit(engine))
    scores, said = task.run(engine, examples)
    assert [one.output for one in said] != [one.output for one in before]

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model.get_parameter(MATRIX).data.copy_(edit(engine)[MATRIX])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    witness = evaluate(HFLM(pretrained=model, tokenizer=tokenizer, max_length=256), task._loaded, bootstrap_iters=0)
    for one, sample in zip(said, witness["samples"][name], strict=False):
        if name == "boolq":
            found = [value for _, value in json.loads(one.output)]
            assert found == pytest.approx([answers[0][0] for answers in sample["resps"]], abs=1e-3)
        else:
            assert one.output == sample["resps"][0][0]
            assert "e" not in one.output  # a stop string
    main = {"boolq": "acc,none", "gsm8k": "exact_match,strict-match"}[name]
    assert scores["score"].value == witness["results"][name][main]
    assert scores["score"].n == len(examples)

    engine.restore()
    assert task.run(engine, examples)[1] == before


def test_texts_are_weighed_in_windows(engine: TransformersEngine) -> None:
    """A text longer than the context: each token once, its log-probability in a window of the context's length."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from tasks.harness_model import EngineLM

    long = " ".join(record["question"] + " " + record["answer"] for record in GSM8K * 6)
    requests = [
        Instance("loglikelihood_rolling", {}, (text,), 0, ("t", i, 1)) for i, text in enumerate((long, "Short.", ""))
    ]
    found = EngineLM(engine).loglikelihood_rolling(requests)
    model = transformers.AutoModelForCausalLM.from_pretrained(engine.folder)
    witness = HFLM(pretrained=model, tokenizer=engine.texts.tokenizer, max_length=256)
    assert found == pytest.approx(witness.loglikelihood_rolling(requests, disable_tqdm=True), rel=1e-4)
    assert found[2] == 0


def test_sampling_is_refused(engine: TransformersEngine, tmp_path: Path) -> None:
    wishes = {"do_sample": True, "until": ["x"]}
    keys = {"num_fewshot": 0, "fewshot_split": None, "generation_kwargs": wishes}
    task = tasks.get(local(tmp_path, "gsm8k", "test", GSM8K, **keys))
    with pytest.raises(tasks.InputError, match="engines here decode greedily"):
        task.run(engine, task.examples(limit=1))


def test_what_the_harness_cannot_load_is_one_line(tmp_path: Path) -> None:
    task = tasks.get(local(tmp_path, "gsm8k", "test", GSM8K))  # its few-shot examples are of a split that is not there
    with pytest.raises(tasks.InputError, match=r"lm_eval:gsm8k: cannot be loaded \(KeyError: 'train'\)"):
        task.examples()


def test_examples_are_drawn_and_a_changed_file_is_another_version(names: dict[str, str], tmp_path: Path) -> None:
    task = tasks.get(names["boolq"])
    some, more = task.examples(limit=2, seed=1), task.examples(limit=3, seed=1)
    assert {one.id for one in some} < {one.id for one in more}
    assert some.provenance["dataset"] == "json"
    assert "Water" in task.prompt(task.examples()[0])
    assert pickle.loads(pickle.dumps(task)).examples(limit=2, seed=1) == some
    other = local(tmp_path, "boolq", "validation", BOOLQ, doc_to_target="answer", doc_to_text="{{question}}?")
    assert tasks.get(other).version != task.version


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bolq", "no such task; did you mean 'boolq'"),
        ("glue", "stands for several tasks .* name one: cola, "),
        ("none.yaml", "cannot be read"),
    ],
)
def test_a_name_that_is_not_there(name: str, told: str) -> None:
    with pytest.raises(tasks.InputError, match=told):
        tasks.get(f"lm_eval:{name}")


def test_a_file_that_is_no_task(tmp_path: Path) -> None:
    for content, told in (("a: [", "cannot be read as YAML"), ("a: 1", "no key 'task'")):
        (tmp_path / "t.yaml").write_text(content)
        with pytest.raises(tasks.InputError, match=told):
            tasks.get(f"lm_eval:{tmp_path / 't.yaml'}")


def test_it_is_swept_beside_other_tasks(names: dict[str, str], folder: Path, tmp_path: Path) -> None:
    config = small_config(
        folder, regularizers=["none"], tasks={"names": ["nli", names["boolq"], names["gsm8k"]], "examples": 2}
    )
    store: Store = sweep(config, tmp_path)
    assert len(computed(store)) == 3
    rows, outputs = store.rows(), store.outputs()
    for name in ("boolq", "gsm8k"):
        assert sorted(rows[rows["name"] == f"lm_eval:{name}/score"]["n_edits"]) == [0, 1, 3]
        mine = outputs[outputs["task"] == f"lm_eval:{name}"]
        assert mine.groupby("n_edits").size().to_dict() == {0: 2, 1: 2, 3: 2}
        texts = mine.sort_values("index").groupby("n_edits")["output"].agg(list)
        assert texts[0] != texts[3]
    assert (rows["name"] == "lm_eval:gsm8k/exact_match/flexible-extract").sum() == 3


def test_chance_is_read_off_the_task(names: dict[str, str], tmp_path: Path) -> None:
    assert chance_of(names["boolq"]) == 0.5  # two of four are yes
    assert chance_of(local(tmp_path, "boolq", "validation", BOOLQ[1:], doc_to_target="answer")) == pytest.approx(2 / 3)
    assert chance_of(names["gsm8k"]) == 0.0  # three answers to three questions
    twice = [*GSM8K, {"question": "And again?", "answer": "another way\n#### 18"}]
    keys = {"num_fewshot": 0, "fewshot_split": None}
    assert chance_of(local(tmp_path, "gsm8k", "test", twice, **keys)) == 0.5  # 18, whatever stands before it


def test_chance_of_four_choices_and_of_a_score_of_its_own(tmp_path: Path) -> None:
    letters = ["A", "B", "C", "D"]
    docs = [
        {"question": f"Which, {i}?", "choices": {"text": [f"{i} {x}" for x in letters], "label": letters}}
        | {"answerKey": letters[i % 2]}
        for i in range(4)
    ]
    assert chance_of(local(tmp_path, "arc_easy", "test", docs, validation_split=None, test_split="test")) == 0.25
    mean = [{"metric": "brier_score", "aggregation": "brier_score", "higher_is_better": True}]
    name = local(tmp_path, "boolq", "validation", BOOLQ, doc_to_target="answer", metric_list=mean)
    assert math.isnan(chance_of(name))


def test_chance_of_what_cannot_be_read_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    assert math.isnan(harness_chance.chance([(object(), {})]))
    assert "chance is not known" in caplog.text


def chance_of(name: str) -> float:
    task = tasks.get(name)
    return task.chance(task.examples())
