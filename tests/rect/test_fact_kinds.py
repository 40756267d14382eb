"""Files of facts in which a value is of another type, or which are in another format: said as what it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fact_records import GOOD, KNOWEDIT, OWN, REWRITE, ZSRE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfolder.errors import InputError
from rect import Fact, fact_files, facts
from rect.fact_readers import FORMATS
from rect.fact_readers.ripple import CRITERIA


def changed(record: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy of a record with another value at a path."""
    other = at = copy.deepcopy(record)
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return other


def read(folder: Path, format: str, *records: Any) -> list[Fact]:
    file = folder / "x.jsonl"
    file.write_text("\n".join(json.dumps(record) for record in records))
    return fact_files.load(file, format)


R = "requested_rewrite"


@pytest.mark.parametrize(
    ("format", "path", "value", "said"),
    [
        ("counterfact", ("paraphrase_prompts",), "text", "paraphrase_prompts is a string ('text'); a list of strings"),
        ("counterfact", ("neighborhood_prompts",), "text", "neighborhood_prompts is a string ('text'); a list"),
        ("counterfact", ("neighborhood_prompts",), {"a": 1}, "neighborhood_prompts is an object with the keys 'a'"),
        ("counterfact", ("paraphrase_prompts",), ["a", 3], "paraphrase_prompts[1] is a number; a string"),
        ("counterfact", ("paraphrase_prompts",), ["a", " "], "paraphrase_prompts[1] is an empty string"),
        ("counterfact", (R,), [REWRITE, REWRITE], f"{R} is a list of 2, several in one record; one object"),
        ("easyedit", ("rephrase_prompt",), ["a", ""], "rephrase_prompt[1] is an empty string; a string"),
        ("easyedit", ("rephrase_prompt",), "Reformulated Question:", "rephrase_prompt is 'Reformulated Question:'"),
        ("easyedit", ("locality_ground_truth",), ["a"], "locality_ground_truth has 1 answers, locality_prompt"),
        ("easyedit", ("target_new",), 3, "target_new is a number; a string with an answer, or a list"),
        ("easyedit", ("portability_ground_truth",), None, "portability_ground_truth is missing"),
        ("easyedit", ("portability",), {"New Question": "q"}, "portability.New Answer is missing"),
        ("knowedit", ("portability",), ["x"], "portability is a list of 1; an object of kinds"),
        ("knowedit", ("portability", "Reasoning"), ["x"], "portability.Reasoning[0] is a string ('x'); an object"),
        ("knowedit", ("portability", "Reasoning", 0, "ground_truth"), [], "Reasoning.ground_truth is an empty list"),
        ("knowedit", ("portability", "Reasoning", 0, "ground_truth"), [[[]]], "ground_truth[0][0] is an empty list"),
        ("knowedit", ("portability", "Subject_Aliasing", "ground_truth"), ["a"], "one answer for each of 2 prompts"),
        ("knowedit", ("locality", "Forgetfulness", 0, "prompt"), 3, "Forgetfulness.prompt is a number"),
        ("qaedit", ("locality",), "x", "locality is a string ('x'); an object"),
        ("qaedit", ("locality", 0, "loc"), None, "locality.loc is null; a string"),
        ("wikibigedit", ("mhop_ans",), None, "mhop_ans is null; a string with an answer"),
        ("mquake", (R, 1, "target_new"), "yen", f"{R}.target_new is a string ('yen'); an object"),
        ("mquake", (R,), [], f"{R} is an empty list; at least one rewrite"),
        ("mquake", ("questions",), [], "questions is missing or empty"),
        ("mquake", ("new_answer",), "", "new_answer is an empty string; a string with an answer"),
        ("ripple", ("edit", "relation"), "MOTHER", "does not read 'The name of the mother of {} is'"),
        ("ripple", ("edit", "previous_fact"), "x", "edit.previous_fact is a string ('x'); an object"),
        ("ripple", ("Forgetfulness", 0, "test_condition"), "XOR", "test_condition is a string ('XOR'); OR"),
        ("ripple", ("Forgetfulness", 0, "test_queries", 0, "answers"), [{"value": "N"}], "a single letter"),
        ("counterfact", (R,), None, f"{R} is null; an object"),
        ("counterfact", (R, "target_true"), "Norway", f"{R}.target_true is a string ('Norway'); an object"),
        ("counterfact", (R, "target_new"), "Peru", f"{R}.target_new is a string ('Peru'); an object"),
        ("counterfact", (R, "target_new"), {"str": ["Peru"]}, f"{R}.target_new.str is a list of 1; a string"),
        ("counterfact", (R, "target_new"), {}, f"{R}.target_new.str is missing"),
        ("counterfact", (R, "subject"), ["Oslo"], f"{R}.subject is a list of 1; a string"),
        ("counterfact", ("case_id",), [1], "case_id is a list of 1; a whole number or a string"),
        ("zsre", ("rephrase",), ["a", "b"], "rephrase is a list of 2; a string"),
        ("zsre", ("rephrase",), " ", "rephrase is empty"),
        ("zsre", ("loc",), "", "loc is empty"),
        ("zsre", ("loc",), ["a"], "loc is a list of 1; a string"),
        ("zsre", ("loc_ans",), ["a"], "loc_ans is a list of 1; a string"),
        ("zsre", ("pred",), ["Norway"], "pred is a list of 1; a string"),
        ("zsre", ("alt",), None, "alt is null; a string"),
        ("zsre", ("src",), 3, "src is a number; a string"),
        ("facts", ("rephrasings",), "text", "rephrasings is a string ('text'); a list"),
        ("facts", ("rephrasings",), [""], "rephrasings[0] is empty"),
        ("facts", ("target",), ["Peru"], "target is a list of 1; a string"),
        ("facts", ("locality",), {"prompt": "x"}, "locality is an object with the keys 'prompt'; a list"),
        ("facts", ("locality", 0, "answer"), ["x"], "locality[0].answer is a list of 1; a string"),
        ("facts", ("locality", 0, "prompt"), "", "locality[0].prompt is empty"),
    ],
)
def test_a_wrong_type_is_called_what_it_is(
    format: str, path: tuple[Any, ...], value: Any, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = changed(GOOD[format], path, value)
    with pytest.raises(InputError) as caught:
        read(tmp_path, format, bad)
    assert said in str(caught.value)
    assert "line 1" in str(caught.value)
    assert "\n" not in str(caught.value)
    if format != "facts":  # public: skipped, counted, named
        assert len(read(tmp_path, format, GOOD[format], bad)) == len(read(tmp_path, format, GOOD[format]))
        assert "1 of 2 records skipped" in caplog.text
        assert said in caplog.text


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"question": "q", "answer": "a", "para_question": "p"}, "UnKE, which is not read here"),
        ({"subject": "s", "attribute": "a", "template": "t"}, "ROME's known facts, which is not read here"),
    ],
)
@pytest.mark.parametrize("format", sorted(FORMATS))
def test_the_format_that_a_file_looks_like_is_named(record: Any, name: str, format: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"it looks like {name}") as caught:
        read(tmp_path, format, record, record)
    assert "\n" not in str(caught.value)
    for key in record:
        assert f"{key} is missing" not in str(caught.value)


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("other", sorted(FORMATS))
def test_a_readable_format_is_named_with_its_option(format: str, other: str, tmp_path: Path) -> None:
    if format == other:
        assert len(read(tmp_path, format, GOOD[other])) == (2 if format == "mquake" else 1)
        return
    if {format, other} <= {"knowedit", "easyedit"}:  # all that they differ in may be left out
        return
    with pytest.raises(InputError, match=rf"it looks like .*, format {other}$"):
        read(tmp_path, format, GOOD[other])


SAMPLES = {  # {file: (format, records, facts, those skipped and why)}
    "zsre.jsonl": ("zsre", 499, 499, [("line 268", "target is empty")]),
    "counterfact.jsonl": ("counterfact", 250, 250, []),
    "counterfact_flat.json": ("easyedit", 120, 120, []),
    "qaedit.json": ("qaedit", 120, 120, []),
    "knowedit.json": ("knowedit", 3, 3, []),
    "mquake_cf.json": ("mquake", 27, 45, []),
    "wikibigedit_flat.json": ("easyedit", 11, 11, [("line 58", "rephrase_prompt is 'Reformulated Question:'")]),
}


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_of_a_public_data_set_is_read(name: str, auto: bool, shared_data: Path) -> None:
    format, records, count, bad = SAMPLES[name]
    looked = fact_files.look(shared_data / name, "auto" if auto else format)
    assert (looked.format, looked.records, len(looked.facts)) == (format, records, count)
    assert [(one.where, one.why[: len(why)]) for one, (_, why) in zip(looked.bad, bad, strict=True)] == bad
    text = (shared_data / name).read_text(encoding="utf-8")
    for fact in looked.facts:
        assert json.dumps(fact.target, ensure_ascii=False)[1:-1] in text
        assert fact.subject in fact.filled


def test_auto_says_what_it_took(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "x.json").write_text(json.dumps([{"a": 1}, KNOWEDIT, ZSRE]))
    [fact] = fact_files.load(tmp_path / "x.json", "auto", told=told.append)
    assert fact.target == "Peru"
    assert told[0] == f"{tmp_path / 'x.json'}: read as KnowEdit, format knowedit"
    assert "2 of 3 records skipped: line 1 (prompt is missing)" in told[1]
    (tmp_path / "x.json").write_text(json.dumps([OWN, {"subject": "x"}]))
    with pytest.raises(InputError, match=r"line 1: prompt is missing$"):  # one's own file
        fact_files.load(tmp_path / "x.json", "auto")


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([{"a": 1}], "no record looks like a format that is known; known: ripple, mquake"),
        ([], "no record looks like"),
        ([{"question": "q", "answer": "a", "para_question": "p"}], "looks like UnKE, which is not read here"),
    ],
)
def test_auto_takes_nothing_for_what_it_is_not(records: list[Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(records))
    with pytest.raises(InputError, match=said):
        fact_files.load(tmp_path / "x.json", "auto")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{\n "a": [],\n "b": 1\n}', "holds an object with the keys 'a', 'b' over several lines"),
        ("9" * 5000, "line 1: not valid JSON (Exceeds the limit"),
        ("[" + "9" * 5000 + "]", "line 1: not valid JSON (Exceeds the limit"),
        ("[" * 100_000, "line 1: not valid JSON ("),
        ('{"a":' * 100_000, "line 1: not valid JSON (nested too deeply)"),
    ],
)
def test_json_that_cannot_be_a_file_of_facts(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError) as caught:
        fact_files.load(tmp_path / "x.json")
    assert said in str(caught.value)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a record."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, one in inner for path in ((*at, key), *paths(one, (*at, key)))]


PATHS = {format: paths(record) for format, record in GOOD.items()}
TEXTS = st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(["Oslo", "\ud800", " ", "{}"])
JSON: Callable[..., st.SearchStrategy[Any]] = lambda: st.recursive(  # noqa: E731
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["str", "prompt", "x"]), inner),
    max_leaves=5,
)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_key_gives_facts_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(sorted(FORMATS)))
    path = data.draw(st.sampled_from(PATHS[format]))
    value = data.draw(JSON())
    try:
        found = read(tmp_path, data.draw(st.sampled_from([format, "auto"])), changed(GOOD[format], path, value))
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert f"{path[-1]} is missing" not in str(error) or format in ("easyedit", "mquake", "ripple")  # noqa: PT017
        return
    facts.digest(found)
    given_texts = [one.strip() for one in _strings(changed(GOOD[format], path, value))]
    for fact in found:
        dumped = fact.model_dump(exclude={"id", "prompt", "instances"})
        for text in _strings(dumped):
            known = any(text.strip() in one for one in given_texts)
            assert known or text in (*KINDS, "Multi_Hop", "Reasoning"), "a text that the file does not hold"
        assert fact.filled.strip()


KINDS = {*CRITERIA, *KNOWEDIT["portability"], *KNOWEDIT["locality"]}


ROWS = st.lists(
    JSON() | st.dictionaries(st.sampled_from(sorted({key for one in GOOD.values() for key in one})), JSON())
)


@given(rows=ROWS, format=st.sampled_from(["auto", *FORMATS]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_give_facts_or_one_line(tmp_path: Path, rows: list[Any], format: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(rows))
    try:
        found = fact_files.load(tmp_path / "x.json", format)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert str(error).startswith(str(tmp_path / "x.json"))  # noqa: PT017
    else:
        assert found
        assert all(fact.target.strip() and fact.subject.strip() for fact in found)


@given(content=st.binary(max_size=60), format=st.sampled_from(["auto", "knowedit", "ripple"]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_one_line(tmp_path: Path, content: bytes, format: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        fact_files.look(tmp_path / "x.json", format) if format == "auto" else fact_files.load(
            tmp_path / "x.json", format
        )
    assert "\n" not in str(caught.value)


def _strings(value: Any) -> Any:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)
