"""Malformed data: one line that names file and line, and never another exception."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import task_records
from hypothesis import given, settings
from hypothesis import strategies as st
from task_records import RECORDS

import tasks
from modelfolder.errors import InputError
from tasks.records import Example


def refused(name: str, source: Path) -> str:
    """The message with which a source is refused; it must be one line."""
    with pytest.raises(InputError) as caught:
        tasks.get(name).examples(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", tasks.NAMES)
def test_truncated_jsonl(name: str, tmp_path: Path) -> None:
    file = task_records.write_jsonl(tmp_path / f"{name}.jsonl", RECORDS[name])
    file.write_bytes(file.read_bytes()[:-9])
    assert refused(name, tmp_path).startswith(f"{file}, line 3: not valid JSON (")


@pytest.mark.parametrize("name", tasks.NAMES)
def test_each_needed_field_is_named_with_file_and_line_when_missing_or_wrong(name: str, tmp_path: Path) -> None:
    needed = [key for key in RECORDS[name][1] if key not in ("index", "id", "title")]
    file = tmp_path / f"{name}.jsonl"
    for key in needed:
        without = {k: v for k, v in RECORDS[name][1].items() if k != key}
        for wrong in (without, {**RECORDS[name][1], key: None}, {**RECORDS[name][1], key: {"a": [1]}}):
            task_records.write_jsonl(file, [RECORDS[name][0], wrong])
            message = refused(name, tmp_path)
            assert message.startswith(f"{file}, line 2: ")
            assert f"'{key}'" in message


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("reasoning", {"answer": "3 + 15 = 18"}, "'#### '"),
        ("reasoning", {"answer": "so #### eighteen"}, "a number"),
        ("reasoning", {"question": "  "}, "field 'question' is empty"),
        ("nli", {"label": "neutral"}, "one of entailment, not_entailment, 0, 1"),
        ("nli", {"label": -1}, "one of"),
        ("nli", {"label": True}, "one of"),
        ("open_domain_qa", {"answer": []}, "'answer' must be a list"),
        ("open_domain_qa", {"answer": "Goethe"}, "'answer' must be a list"),
        ("open_domain_qa", {"output": [""]}, "'output', element 1 is empty"),
        ("open_domain_qa", {"answer": ["a", 3]}, "field 'answer', element 2 must be text, not a number"),
        ("open_domain_qa", {"answer": ["a", ["b"]]}, "element 2 must be text, not a list of 1"),
        ("closed_domain_qa", {"answer": "yes"}, "true or false"),
        ("closed_domain_qa", {"answer": "true"}, "must be true or false, not a string ('true')"),
        ("closed_domain_qa", {"answer": 1}, "must be true or false, not a number"),
        ("closed_domain_qa", {"answer": None}, "must be true or false, not null"),
        ("closed_domain_qa", {"passage": ["text"]}, "field 'passage' must be text, not a list of 1"),
        ("dialogue", {"answers": "E"}, "one of A, B, C, D"),
        ("dialogue", {"options": ["a", "b", "c"]}, "list of 4 texts"),
        ("dialogue", {"options": "abcd"}, "list of 4 texts, not a string ('abcd')"),
        ("dialogue", {"options": []}, "list of 4 texts, not an empty list"),
        (
            "dialogue",
            {"options": ["a", "b", "c", "a"], "answers": "D"},
            "the right one, a string ('a'), more than once",
        ),
        ("dialogue", {"answers": 0}, "one of A, B, C, D, not a number"),
        ("summarization", {"summary": 3}, "must be text"),
        ("summarization", {"dialogue": "\ud800"}, "surrogate"),
        ("ner", {"ner_tags": ["B-PER"]}, "list of 9 texts"),
        ("ner", {"ner_tags": ["B-GPE", *"OOOOOOOO"]}, "'B-GPE' is no tag"),
        ("ner", {"tokens": []}, "'tokens' must be a list"),
        ("sentiment", {"label": 2}, "one of 1, 0"),
        ("sentiment", {"label": 1.0}, "one of 1, 0"),
    ],
)
def test_wrong_values(name: str, change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.jsonl"
    file.write_text(json.dumps({**RECORDS[name][0], **change}) + "\n", encoding="utf-8")
    message = refused(name, tmp_path)
    assert message.startswith(f"{file}, line 1: ")
    assert reason in message


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_directory_without_the_task(name: str, tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text("{}\n", encoding="utf-8")
    assert f"no data for task '{name}'; looked for test-" in refused(name, tmp_path)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert "no such directory" in refused("nli", tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]", b"\xef\xbb\xbf"])
def test_an_empty_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "nli.jsonl").write_bytes(content)
    assert refused("nli", tmp_path) == f"{tmp_path / 'nli.jsonl'}: no records in it"


def test_a_binary_file(tmp_path: Path) -> None:
    file = tmp_path / "nli.jsonl"
    file.write_bytes(json.dumps(RECORDS["nli"][0]).encode() + b"\n\x89PNG\r\n")
    assert refused("nli", tmp_path) == f"{file}, line 2: not UTF-8 text (byte 0: 0x89)"


@pytest.mark.parametrize("line", ['{"a":' * 100_000, '{"a": ' + "1" * 5000 + "}", "NaN", "{'a': 1}"])
def test_lines_that_json_refuses_in_its_own_ways(line: str, tmp_path: Path) -> None:
    (tmp_path / "nli.jsonl").write_text(json.dumps(RECORDS["nli"][0]) + "\n" + line, encoding="utf-8")
    assert refused("nli", tmp_path).startswith(f"{tmp_path / 'nli.jsonl'}, line 2: ")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "nli.xlsx").write_bytes(b"x")
    assert "no reader for .xlsx" in refused("nli", tmp_path / "nli.xlsx")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"dialogue": "a", "summary": "b"},\n 5]', "line 2: must be a JSON object, not a number"),
        ('[\n{"dialogue": "a", "summary": "b"},\n{"dialogue": "a"}]', "line 3: field 'summary' is missing"),
        ('[\n{"dialogue": "a", "summary": "b"}\n{}]', "line 3: not valid JSON (Expecting ',' delimiter at column 1)"),
        ('[\n{"dialogue": "a", "summary": "b"},\n]', "line 3: not valid JSON"),
        ('[{"dialogue": "a", "summary": "b"}', "line 1: not valid JSON"),
        ('[{"dialogue": "a",\n "summary" "b"}]', "line 2: not valid JSON (Expecting ':' delimiter at column 12)"),
        ('[{"dialogue": "a", "summary": "b"}] x', "line 1: not valid JSON (Extra data at column 37)"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_json_arrays(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "test-summarization.json").write_text(content, encoding="utf-8")
    assert reason in refused("summarization", tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "content", "reason"),
    [
        (
            "nli",
            "test-NLI.tsv",
            "index\tsentence1\tsentence2\tlabel\n0\ta\tb\n",
            "line 2: 3 columns, but the header has 4",
        ),
        ("nli", "test-NLI.tsv", "0\ta\tb\tentailment\n1\ta\tb\tentailment\n", "line 2: field 'sentence1' is missing"),
        ("nli", "test-NLI.tsv", "index\tsentence1\tsentence2\tlabel\n", "no records"),
        ("nli", "test-NLI.tsv", "label\tsentence1\tlabel\n0\ta\t1\n", "line 1: the header names 'label' twice"),
        ("ner", "test-NER.txt", "Berlin\n", "line 1: 1 columns"),
        ("ner", "test-NER.txt", "A NN O\nB O\n", "line 2: 2 columns where 3 were expected"),
        ("ner", "test-NER.txt", "\nA NN O\nB NN Q\n\n", "line 2: field 'ner_tags': 'Q' is no tag"),
        ("ner", "test-NER.txt", "-DOCSTART- -X- O O\n\n", "no records"),
    ],
)
def test_columns(name: str, file: str, content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    assert reason in refused(name, tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "{1: 2}", "[1]", "lambda: 0", "(" * 5000, "{'a': 1 + 1}", "{[]: 1}", "\0"]
)
def test_mutual_text_files(content: str, tmp_path: Path) -> None:
    (tmp_path / "test-dialogue").mkdir()
    (tmp_path / "test-dialogue/dev_1.txt").write_text(content, encoding="utf-8")
    assert "dev_1.txt" in refused("dialogue", tmp_path)


FILES = {
    "reasoning": "reasoning.jsonl",
    "nli": "test-NLI.tsv",
    "open_domain_qa": "nq_open.jsonl",
    "closed_domain_qa": "boolq.jsonl",
    "dialogue": "test-dialogue/dev_1.txt",
    "summarization": "test-summarization.json",
    "ner": "test-NER.txt",
    "sentiment": "sst2.jsonl",
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def attempt(name: str, source: Path) -> tuple[list[Example], str]:
    """The examples of a source, or the message with which it is refused; any other exception fails the test."""
    try:
        return tasks.get(name).examples(source), ""
    except InputError as error:
        return [], str(error)


def read_or_refuse(name: str, folder: Path, content: bytes) -> None:
    """Either examples with usable prompts, or an InputError; nothing else."""
    file = folder / FILES[name]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    examples, message = attempt(name, folder)
    assert bool(examples) != (str(folder) in message)
    assert "\n" not in message
    task = tasks.get(name)
    for example in examples:
        task.prompt(example).encode()
        task.judge(task.gold_output(example), example)


@pytest.mark.parametrize("name", tasks.NAMES)
@given(content=st.binary(max_size=200))
@settings(max_examples=50)
def test_any_bytes(name: str, content: bytes, tmp_path: Path) -> None:
    read_or_refuse(name, tmp_path, content)


@pytest.mark.parametrize("name", tasks.NAMES)
@given(data=st.data())
@settings(max_examples=50)
def test_damaged_files(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A good file with a piece cut out or replaced."""
    folder = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    folder.mkdir(exist_ok=True)
    if not (folder / "good").exists():
        (folder / "good").mkdir()
        task_records.write_authors_layout(folder / "good")
    good = folder / "good" / task_records.AUTHORS_FILES[name]
    content = (good / "dev_1.txt" if good.is_dir() else good).read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    (folder / "bad").mkdir(exist_ok=True)
    read_or_refuse(name, folder / "bad", content[:start] + data.draw(st.binary(max_size=6)) + content[end:])


@pytest.mark.parametrize("name", tasks.NAMES)
@given(data=st.data())
@settings(max_examples=50)
def test_any_json_in_any_field(name: str, data: st.DataObject, tmp_path: Path) -> None:
    record = dict(RECORDS[name][0])
    for key in data.draw(st.lists(st.sampled_from(sorted(record)), min_size=1, max_size=2)):
        record[key] = data.draw(VALUES)
    file = tmp_path / f"{name}.jsonl"
    file.write_text(json.dumps(record), encoding="utf-8")
    examples, message = attempt(name, file)
    assert bool(examples) != message.startswith(f"{file}, line 1: ")


@pytest.mark.parametrize("name", tasks.NAMES)
@given(value=VALUES)
@settings(max_examples=25)
def test_any_json_as_a_record(name: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / f"{name}.jsonl").write_text(json.dumps(value), encoding="utf-8")
    assert str(tmp_path) in refused(name, tmp_path)
