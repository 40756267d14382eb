"""Sources: the authors' layout, the data sets' own files, drawing of examples."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import task_records
from task_records import RECORDS

import tasks
from modelfolder.errors import InputError

SHARED = {
    "reasoning": ("gsm8k", 500),
    "nli": ("rte", 139),
    "open_domain_qa": ("nq_open", 500),
    "closed_domain_qa": ("boolq", 500),
    "dialogue": ("mutual", 443),
    "summarization": ("samsum", 409),
    "ner": ("conll2003", 2000),
    "sentiment": ("sst2", 436),
}


@pytest.mark.parametrize("name", tasks.NAMES)
@pytest.mark.parametrize("root", [".", "task-data", "data/task-data"])
def test_the_authors_layout(name: str, root: str, tmp_path: Path) -> None:
    folder = tmp_path / root
    folder.mkdir(parents=True, exist_ok=True)
    task_records.write_authors_layout(folder)
    assert list(tasks.get(name).examples(tmp_path)) == task_records.examples(name)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_jsonl_by_the_tasks_name_and_as_one_file(name: str, tmp_path: Path) -> None:
    file = task_records.write_jsonl(tmp_path / f"{name}.jsonl", RECORDS[name])
    task = tasks.get(name)
    found = task.examples(tmp_path)
    assert list(found) == list(task.examples(file)) == task_records.examples(name)
    assert found.provenance["file"] == str(file)
    assert len(found.provenance["sha256"]) == 64
    assert pickle.loads(pickle.dumps(found)).provenance == found.provenance


@pytest.mark.parametrize("name", tasks.NAMES)
def test_samples_of_the_real_data(name: str, shared_data: Path) -> None:
    file, count = SHARED[name]
    task = tasks.get(name)
    examples = task.examples(shared_data)
    assert examples.provenance["file"] == str(shared_data / f"{file}.jsonl")
    assert len(examples) == count
    assert len({example.id for example in examples}) == count
    for example in examples:
        assert task.prompt(example)
        json.dumps(example.gold)
    some = examples[:100]
    assert task.score([task.gold_output(e) for e in some], some)["score"].value == pytest.approx(1)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_bundled_examples(name: str) -> None:
    if not (Path(tasks.__file__).parent / "data" / f"{name}.jsonl").is_file():
        pytest.skip("the bundled data is not part of this checkout")
    task = tasks.get(name)
    examples = task.examples("bundled")
    assert len(examples) >= 32
    assert task.score([task.gold_output(e) for e in examples], examples)["score"].value == pytest.approx(1)


def test_glue_tsv_quotes(tmp_path: Path) -> None:
    """GLUE does not quote; a CSV writer's quoting is undone; a quotation that fills a cell stays."""
    (tmp_path / "RTE").mkdir()
    lines = ['0\t"He" left.\t"Who" left?\t1', '1\t"He said ""no"" to it."\tB.\t0', '2\t"All quoted."\tC.\tentailment']
    (tmp_path / "RTE/dev.tsv").write_text("\r\n".join(["index\tsentence1\tsentence2\tlabel", *lines]), encoding="utf-8")
    examples = tasks.get("nli").examples(tmp_path)
    assert [e.fields["sentence1"] for e in examples] == ['"He" left.', 'He said "no" to it.', '"All quoted."']
    assert [e.gold for e in examples] == ["false", "true", "true"]


def test_conll_with_iob1_tags_and_tabs(tmp_path: Path) -> None:
    (tmp_path / "eng.testb").write_text("-DOCSTART-\tO\n\nNew\tI-LOC\nYork\tI-LOC\nJets\tI-ORG\n", encoding="utf-8")
    golds = {e.fields["type"]: e.gold for e in tasks.get("ner").examples(tmp_path)}
    assert golds == {"Person": [], "Location": ["New York"], "Organization": ["Jets"], "Miscellaneous": []}


def test_mutual_files_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "mutual" / "dev"
    folder.mkdir(parents=True)
    for number in (10, 2, 1):
        record = {**RECORDS["dialogue"][0], "article": f"article {number}"}
        (folder / f"dev_{number}.txt").write_text(json.dumps(record), encoding="utf-8")
    examples = tasks.get("dialogue").examples(tmp_path)
    assert [e.fields["article"] for e in examples] == ["article 1", "article 2", "article 10"]


def test_mutual_files_are_never_evaluated(tmp_path: Path) -> None:
    (tmp_path / "test-dialogue").mkdir()
    witness = tmp_path / "witness"
    code = f"__import__('pathlib').Path({str(witness)!r}).touch()"
    (tmp_path / "test-dialogue/dev_1.txt").write_text(code, encoding="utf-8")
    with pytest.raises(InputError, match=r"dev_1\.txt, line 1"):
        tasks.get("dialogue").examples(tmp_path)
    assert not witness.exists()


def many(folder: Path, count: int = 60) -> Path:
    records = [{"sentence": f"film number {i}", "label": i % 2} for i in range(count)]
    return task_records.write_jsonl(folder / "sentiment.jsonl", records)


def test_a_larger_limit_adds_to_a_smaller_one(tmp_path: Path) -> None:
    file, task = many(tmp_path), tasks.get("sentiment")
    small, large = (task.examples(file, limit=limit, seed=3) for limit in (7, 20))
    assert (len(small), len(large)) == (7, 20)
    assert {e.id for e in small} < {e.id for e in large}
    assert [int(e.id) for e in large] == sorted(int(e.id) for e in large)
    assert all(e.fields["text"] == f"film number {e.id}" for e in large)


def test_a_draw_is_fixed_by_its_seed(tmp_path: Path) -> None:
    file, task = many(tmp_path), tasks.get("sentiment")
    assert [e.id for e in task.examples(file, limit=5, seed=0)] == ["5", "22", "38", "42", "51"]
    assert [e.id for e in task.examples(file, limit=5, seed=1)] != ["5", "22", "38", "42", "51"]
    assert task.examples(file, limit=5, seed=0) == tasks.get("sentiment:likelihood").examples(file, limit=5, seed=0)


def test_a_limit_above_the_size_gives_all_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(tasks.get("sentiment").examples(many(tmp_path, 5), limit=9)) == 5
    assert "9 examples asked for, the source has 5" in caplog.text


def test_a_limit_below_1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1"):
        tasks.get("sentiment").examples(many(tmp_path), limit=0)


def test_limit_counts_sentences_in_ner(tmp_path: Path) -> None:
    file = task_records.write_jsonl(tmp_path / "ner.jsonl", RECORDS["ner"])
    assert len(tasks.get("ner").examples(file, limit=2)) == 8


def test_questions_without_passages_are_another_version(tmp_path: Path) -> None:
    records = [{"question": r["question"], "answer": r["answer"]} for r in RECORDS["open_domain_qa"]]
    file = task_records.write_jsonl(tmp_path / "NQ-open.dev.jsonl", records)
    task = tasks.get("open_domain_qa")
    assert task.on(file).version == task.on("hub").version == "1-closed-book" != task.version
    assert task.prompt(task.examples(tmp_path)[0]) == "Answer the following question. Question: who wrote faust"
    file = task_records.write_jsonl(tmp_path / "open_domain_qa.jsonl", RECORDS["open_domain_qa"])
    assert task.on(file).version == task.version
    assert task.on(file).on(file).prompt(task.examples(file)[0]).startswith("Refer to the passage")


def test_a_passage_that_is_missing_later_on_is_an_error(tmp_path: Path) -> None:
    last = {key: value for key, value in RECORDS["open_domain_qa"][1].items() if key != "output"}
    file = task_records.write_jsonl(tmp_path / "nq_open.jsonl", [RECORDS["open_domain_qa"][0], last])
    with pytest.raises(InputError, match=r"nq_open\.jsonl, line 2: field 'output'"):
        tasks.get("open_domain_qa").examples(file)
