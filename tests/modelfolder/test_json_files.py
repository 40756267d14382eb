"""Records of JSON files: the values are those of `json`, and each has the line on which it begins."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfolder import json_files
from modelfolder.errors import InputError

FILE = Path("x.json")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def spaces(draw: random.Random) -> str:
    return "".join(draw.choices(" \t\n\r", k=draw.randrange(4)))


@settings(max_examples=200, deadline=None)
@given(st.lists(JSON, max_size=5), st.randoms(use_true_random=False))
def test_elements_of_an_array_come_with_their_lines(values: list[Any], draw: random.Random) -> None:
    text, lines = spaces(draw) + "[", []
    for index, value in enumerate(values):
        text += spaces(draw)
        lines.append(text.count("\n") + 1)
        text += json.dumps(value, indent=draw.choice([None, 1])) + spaces(draw) + "," * (index < len(values) - 1)
    text += spaces(draw) + "]" + spaces(draw)
    assert list(json_files.read(FILE, text)) == list(zip(lines, values, strict=True))


@settings(max_examples=100, deadline=None)
@given(st.lists(JSON.filter(lambda value: not isinstance(value, list)), max_size=5), st.data())
def test_values_of_lines_come_with_their_lines(values: list[Any], data: st.DataObject) -> None:
    text, expected = "", []
    for value in values:
        text += "\n" * data.draw(st.integers(0, 2))
        expected.append((text.count("\n") + 1, value))
        text += json.dumps(value, ensure_ascii=False) + data.draw(st.sampled_from(["\n", "\r\n"]))
    assert list(json_files.read(FILE, text)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}\n{"a": }', "x.json, line 2: not valid JSON (Expecting value at column 7)"),
        ("[1,\n2,\n]", ": not valid JSON ("),
        ("[1]\n[2]", "x.json, line 2: not valid JSON (Extra data at column 1)"),
        ('{"a":\n 1}', "x.json: holds an object with the keys 'a' over several lines; one JSON object a line or one"),
        ("[" * 100_000, "not valid JSON (nested too deeply)"),
    ],
)
def test_what_is_no_json_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        list(json_files.read(FILE, text))
    assert said in str(caught.value)
