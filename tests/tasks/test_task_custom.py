"""Tasks from a YAML or JSONL file."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks
from modelfolder.errors import InputError
from tasks.base import Task

CAPITALS: dict[str, Any] = {
    "name": "capitals",
    "prompt": "The capital of {country} is",
    "answer": "capital",
    "rule": "first-word",
    "max_new_tokens": 5,
    "examples": [
        {"country": "France", "capital": "Paris"},
        {"country": "Peru", "capital": "Lima"},
        {"country": "Netherlands", "capital": ["Amsterdam", "The Hague"]},
    ],
}


def write(folder: Path, **changes: Any) -> Path:
    """The task above with some keys changed (None: left out)."""
    content = {key: value for key, value in {**CAPITALS, **changes}.items() if value is not None}
    path = folder / "capitals.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_task_from_yaml(tmp_path: Path) -> None:
    task = tasks.get(write(tmp_path))
    examples = task.examples("bundled")
    assert (task.name, task.max_new_tokens, task.mode) == ("capitals", 5, "generate")
    assert [task.prompt(example) for example in examples][:2] == ["The capital of France is", "The capital of Peru is"]
    scores = task.score([" Paris.", " a city", " The Hague, of"], examples)
    assert scores["score"].value == scores["score_release"].value == pytest.approx(2 / 3)
    assert len(task.examples(limit=2, seed=1)) == 2
    assert pickle.loads(pickle.dumps(task)).examples() == examples


def test_data_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines = [json.dumps(record) for record in CAPITALS["examples"]]
    (tmp_path / "data/c.jsonl").write_text("\n".join(lines), encoding="utf-8")
    beside = tasks.get(write(tmp_path, examples=None, data="data/c.jsonl"))
    assert beside.examples() == tasks.get(write(tmp_path)).examples()


def test_a_changed_file_is_another_version(tmp_path: Path) -> None:
    version = tasks.get(write(tmp_path)).version
    assert version.startswith("1-")
    assert tasks.get(write(tmp_path)).version == version
    assert tasks.get(write(tmp_path, prompt="{country}'s capital is")).version != version
    assert tasks.get(write(tmp_path, examples=CAPITALS["examples"][:2])).version != version
    assert tasks.get(write(tmp_path, version=2)).version.startswith("2-")


@pytest.mark.parametrize(
    ("rule", "answer", "output", "score", "answered"),
    [
        ("exact", "Lima", " lima.\nMore", 1, True),
        ("exact", "Lima", " It is Lima", 0, True),
        ("contains", "Lima", " It is Lima!", 1, True),
        ("contains", "Lima", " Limassol", 0, True),
        ("first-word", "Lima", " Lima is", 1, True),
        ("first-word", "Lima", " Limassol", 0, True),
        ("first-word", "Lima", " ...", 0, False),
        ("number", "1,000", " $1000.0", 1, True),
        ("number", 12, " 120", 0, True),
        ("number", 12, " twelve", 0, False),
        ("rouge", "a b c", "a b c", 1, True),
        ("rouge", "a b c", "x", 0, True),
    ],
)
def test_rules(rule: str, answer: Any, output: str, score: float, answered: bool, tmp_path: Path) -> None:
    task = tasks.get(write(tmp_path, rule=rule, examples=[{"country": "x", "capital": answer}]))
    judged = task.judge(output, task.examples()[0])
    assert (judged.score, judged.answered) == (pytest.approx(score), answered)
    assert task.judge(task.gold_output(task.examples()[0]), task.examples()[0]).score == pytest.approx(1)


@pytest.mark.parametrize(
    ("output", "score", "answered"),
    [
        (" maybe so", 1, True),
        (" MAYBE", 1, True),
        (" no, maybe", 0, True),
        (" nothing, maybe", 1, True),
        (" maybe not", 0, True),  # the longest choice at that place
        (" ja", 0, False),
    ],
)
def test_choices(output: str, score: float, answered: bool, tmp_path: Path) -> None:
    records = [{"country": "x", "capital": "maybe"}]
    task = tasks.get(write(tmp_path, rule="choice", choices=["yes", "no", "maybe", "maybe not"], examples=records))
    example = task.examples()[0]
    judged = task.judge(output, example)
    assert (judged.score, judged.answered) == (score, answered)
    likely = tasks.get(f"{tmp_path / 'capitals.yaml'}:likelihood")
    assert likely.choices(example) == [" yes", " no", " maybe", " maybe not"]
    assert likely.judge_choice([-3, -2, -1, -4], example).score == 1


def test_a_task_from_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "riddles.jsonl"
    path.write_text(
        '{"prompt": "1 + 1 =", "answer": "2"}\n{"prompt": "{x}", "answer": ["3", "three"]}\n', encoding="utf-8"
    )
    task = tasks.get(path)
    examples = task.examples()
    assert (task.name, [task.prompt(e) for e in examples]) == ("riddles", ["1 + 1 =", "{x}"])
    assert task.score([" 2.", " it is three"], examples)["score"].value == 1
    path.write_text('{"prompt": "Red?", "answer": "no", "choices": ["yes", "no"]}\n', encoding="utf-8")
    assert tasks.get(path).has_choices


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"promt": "x"}, "unknown key 'promt'; did you mean 'prompt'"),
        ({"prompt": None}, "key 'prompt'"),
        ({"rule": "fuzzy"}, "unknown rule 'fuzzy'.*known: exact, contains, first-word, choice, number, rouge"),
        ({"max_new_tokens": 0}, "key 'max_new_tokens'"),
        ({"max_new_tokens": "many"}, "key 'max_new_tokens'"),
        ({"name": "a/b"}, "key 'name'"),
        ({"name": "nli"}, "'nli' is taken"),
        ({"examples": None}, "either 'data'"),
        ({"data": "x.jsonl"}, "either 'data'"),
        ({"examples": None, "data": "x.jsonl"}, "x.jsonl: cannot be read"),
        ({"examples": []}, "no records"),
        ({"examples": [3]}, "example 1: must be a mapping"),
        ({"prompt": "{contry}"}, "example 1: field 'contry' is missing; did you mean 'country'"),
        ({"answer": "town"}, "example 1: field 'town' is missing"),
        ({"passage": "story"}, "passage 'story' is not a field"),
        ({"rule": "choice"}, "needs key 'choices'"),
        ({"rule": "choice", "choices": ["a", "b"]}, "example 1: .*'Paris' is none of the choices a, b"),
        ({"rule": "choice", "choices": [True, False]}, "put quotes around"),
        ({"rule": "choice", "choices": []}, "choices must be a list of at least two choices, not an empty list"),
        ({"rule": "choice", "choices": ["Paris"]}, "at least two choices, not a list of 1"),
        ({"rule": "choice", "choices": ["Paris", "Lima", "paris"]}, "the choice 'paris' stands twice"),
        ({"rule": "choice", "choices": "capital"}, "example 1: field 'capital' must be a list of at least two choices"),
        ({"max_new_tokens": "20"}, r"key 'max_new_tokens' is a string \('20'\): input should be a valid integer"),
        ({"max_new_tokens": True}, "key 'max_new_tokens' is true"),
        ({"version": True}, "key 'version' is true"),
        ({"prompt": ["{country}"]}, "key 'prompt' is a list of 1"),
        ({"examples": [{"country": "A", "capital": float("nan")}]}, "example 1: field 'capital' must be text"),
        ({"examples": [{"country": "A", "capital": None}]}, "field 'capital' must be text, not null"),
        ({"examples": [{"country": "A", "capital": []}]}, "field 'capital' is an empty list"),
        ({"examples": [{"country": {"a": 1}, "capital": "B"}]}, "field 'country' must be text, not an object with"),
        ({"examples": None, "data": "a\0.jsonl"}, "no name of a file"),
        ({"rule": "number"}, "example 1: field 'capital' must be a number, not 'Paris'"),
        ({"examples": [{"country": "x", "capital": True}]}, "example 1: field 'capital' .* put quotes around"),
        ({"examples": [{"country": " ", "capital": "y"}]}, "example 1: field 'country' is empty"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(InputError, match=reason) as caught:
        tasks.get(path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["a: [", "- 1", "", "x: !!int ''", "? {a: 1}\n: 2", "a: 1\nb: 2\na: 3", "d: 2001-99-99", "&a [*a]", "\0"]
)
def test_broken_yaml(content: str, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"t\.yaml"):
        tasks.get(path)


def test_the_line_of_a_yaml_error_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("name: x\nprompt: [\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"t\.yaml:3: not valid YAML"):
        tasks.get(path)


@given(
    content=st.one_of(st.binary(max_size=80), st.text(alphabet="abnm:-[]{}&*!? \n\"'#|>1", max_size=60).map(str.encode))
)
def test_any_bytes(content: bytes, tmp_path: Path) -> None:
    for name in ("t.yaml", "t.jsonl"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            tasks.get(tmp_path / name)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


VALUES_OF_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(data=st.data())
@settings(max_examples=150)
def test_any_value_of_any_key_is_used_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A definition with wrong types anywhere, also in its records, gives prompts or one line."""
    folder = tmp_path_factory.getbasetemp() / "any-value"
    folder.mkdir(exist_ok=True)
    whole = {**CAPITALS, "choices": ["Paris", "Lima"], "passage": "country", "version": "1", "description": "d"}
    record = dict(CAPITALS["examples"][0])
    for target in (whole, record):
        for key in data.draw(st.lists(st.sampled_from(sorted(target)), max_size=2)):
            target[key] = data.draw(VALUES)
    if data.draw(st.booleans()):
        whole["examples"] = [record]
    path = folder / "any.yaml"
    path.write_text(yaml.safe_dump(whole, allow_unicode=False), encoding="utf-8", errors="surrogatepass")
    used_or_refused(path)


@given(records=st.lists(st.dictionaries(st.sampled_from(["prompt", "answer", "choices"]), VALUES_OF_JSON), max_size=3))
@settings(max_examples=150)
def test_any_jsonl_is_used_or_refused(records: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any-task.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    used_or_refused(path)


def attempt(path: Path) -> tuple[Task | None, str]:
    """The task, or the message with which its file is refused; any other exception fails the test."""
    try:
        return tasks.get(path), ""
    except InputError as error:
        return None, str(error)


def used_or_refused(path: Path) -> None:
    task, message = attempt(path)
    assert (task is None) == (str(path) in message)
    assert "\n" not in message
    for example in () if task is None else task.examples():
        task.prompt(example).encode()
        task.judge(task.gold_output(example), example)
        if task.has_choices:
            assert 0 <= task.gold_choice(example) < len(task.choices(example))
