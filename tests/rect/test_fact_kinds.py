"""Files of facts in which a value is of another type, or which are in another format: said as what it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfolder.errors import InputError
from rect import Fact, fact_files, facts
from rect.fact_formats import FORMATS
from rect.fact_kinds import looks_like

ZSRE = {"subject": "Oslo", "src": "Where is Oslo?", "pred": "Norway", "alt": "Peru", "rephrase": "Oslo lies where?"}
ZSRE |= {"loc": "who voiced gaston", "loc_ans": "Richard White"}
REWRITE = {"prompt": "{} is in", "subject": "Oslo", "target_new": {"str": "Peru"}, "target_true": {"str": "Norway"}}
COUNTERFACT: dict[str, Any] = {"case_id": 7, "requested_rewrite": REWRITE}
COUNTERFACT |= {"paraphrase_prompts": ["Oslo lies in", "One finds Oslo in"], "neighborhood_prompts": ["Bergen is in"]}
OWN: dict[str, Any] = {"subject": "Oslo", "prompt": "{} is in", "target": "Peru", "original": "Norway", "id": "x"}
OWN |= {"rephrasings": ["Oslo lies in"], "locality": [{"prompt": "Bergen is in", "answer": "Norway"}]}
GOOD: dict[str, dict[str, Any]] = {"zsre": ZSRE, "counterfact": COUNTERFACT, "facts": OWN}


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
        assert len(read(tmp_path, format, GOOD[format], bad)) == 1
        assert "1 of 2 records skipped" in caplog.text
        assert said in caplog.text


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({**COUNTERFACT, R: [REWRITE], "questions": ["?"], "new_answer": "x"}, "MQuAKE, which is not read here"),
        ({"prompt": "p", "target_new": "t", "subject": "s", "rephrase_prompt": "r"}, "EasyEdit's flat form"),
        ({"prompt": "p", "target_new": "t", "subject": "s", "portability": {}}, "KnowEdit"),
        ({"prompt": "p", "target": "t", "subject": "s", "rephrase": "r", "locality": []}, "QAEdit"),
        ({"subject": "s", "update": "u", "ans": "a", "rephrase": "r", "loc": "l"}, "WikiBigEdit"),
        ({"example_type": "popular", "edit": {"prompt": "p"}, "Logical_Generalization": []}, "RippleEdits"),
        ({"question": "q", "answer": "a", "para_question": "p"}, "UnKE"),
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
        assert len(read(tmp_path, format, GOOD[other])) == 1
        return
    with pytest.raises(InputError, match=rf"it looks like .*, format {other}$"):
        read(tmp_path, format, GOOD[other])


def test_the_samples_of_public_benchmarks_are_told_apart(shared_data: Path) -> None:
    expected = {
        "counterfact_flat.json": {"EasyEdit's flat form"},
        "knowedit.json": {"KnowEdit"},
        "mquake_cf.json": {"MQuAKE"},
        "qaedit.json": {"QAEdit"},
        "wikibigedit_flat.json": {"EasyEdit's flat form"},
    }
    for name, kinds in expected.items():
        records = json.loads((shared_data / name).read_text(encoding="utf-8"))
        assert {kind.name if (kind := looks_like(record)) else None for record in records} == kinds


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


PATHS: dict[str, list[tuple[Any, ...]]] = {
    "zsre": [(key,) for key in ZSRE],
    "counterfact": [*((key,) for key in COUNTERFACT), *((R, key) for key in REWRITE), (R, "target_new", "str")],
    "facts": [*((key,) for key in OWN), ("locality", 0), ("locality", 0, "prompt"), ("locality", 0, "answer")],
}
TEXTS = st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(["Oslo", "\ud800", " ", "{}"])
JSON: Callable[..., st.SearchStrategy[Any]] = lambda: st.recursive(  # noqa: E731
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["str", "prompt", "x"]), inner),
    max_leaves=5,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_key_gives_facts_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(sorted(FORMATS)))
    path = data.draw(st.sampled_from(PATHS[format]))
    value = data.draw(JSON())
    try:
        [fact] = read(tmp_path, format, changed(GOOD[format], path, value))
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert f"{path[-1]} is missing" not in str(error)  # noqa: PT017
        return
    facts.digest([fact])
    texts = [fact.subject, fact.prompt, fact.target, *fact.rephrasings, *(one.prompt for one in fact.locality)]
    assert all(isinstance(text, str) and text.strip() for text in texts)
    given_texts = list(_strings(changed(GOOD[format], path, value)))
    for text in (*fact.rephrasings, *(one.prompt for one in fact.locality)):
        assert text in {one.rstrip() for one in given_texts}, "a text that the file does not hold"


def _strings(value: Any) -> Any:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
