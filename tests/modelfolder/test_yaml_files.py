"""YAML files: PyYAML's values, the line of each key, and no key twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfolder import yaml_files
from modelfolder.errors import InputError

REPOSITORY = Path(__file__).parents[2]
KEYS = st.text("abcxyz", min_size=1, max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def at(data: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        data = data[int(part) if isinstance(data, list) else part]
    return data


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans())
def test_values_and_lines_of_what_a_yaml_writer_writes(data: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, sort_keys=False)
    found, lines = yaml_files.read(text, "x.yaml")
    assert found == data
    for dotted, line in lines.items():
        at(data, dotted)
        key = dotted.rpartition(".")[2]
        assert key.isdecimal() or key in text.split("\n")[line - 1]


@pytest.mark.parametrize("file", sorted((REPOSITORY / "configs").rglob("*.yaml")), ids=lambda file: file.stem)
def test_our_own_files_read_as_ever(file: Path) -> None:
    assert yaml_files.mapping(file) == yaml.safe_load(file.read_text())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: {c: 1,\n d: 2, c: 3}\n", "x.yaml:3: the key 'c' is given twice"),
        ("a:\n- b: 1\n  b: 1\n", "x.yaml:3: the key 'b' is given twice"),
        ("a: [\nb", "x.yaml:2: not valid YAML: "),
        ("a: 1\nb: !!python/name:os.system x", "x.yaml:2: not valid YAML: could not determine a constructor"),
        ("a: 2001-99-99", "x.yaml: not valid YAML: month must be in 1..12"),
        ("[" * 100_000, "x.yaml: not valid YAML: maximum recursion depth exceeded"),
        ("a: \0", "x.yaml: not valid YAML: "),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        yaml_files.read(text, "x.yaml")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_what_is_said_once_and_referred_to_is_read_once() -> None:
    levels = ["a0: &a0 [1, 2]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    data, lines = yaml_files.read("\n".join(levels), "x.yaml")
    assert data["a1"] == [[1, 2]] * 9
    assert lines["a39"] == 40
    looped, _ = yaml_files.read("a: &a [*a]", "x.yaml")
    assert looped["a"][0] is looped["a"]


@pytest.mark.parametrize(("content", "kind"), [(b"- 1", "list"), (b"", "NoneType"), (b"text", "str")])
def test_a_mapping_is_wanted(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(InputError, match=f"x.yaml: a mapping of keys to values is wanted, found {kind}"):
        yaml_files.mapping(tmp_path / "x.yaml")


def test_a_file_that_is_none_or_no_text_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    for file, said in ((tmp_path / "x.yaml", "cannot be read as text"), (tmp_path / "y", "there is no such file")):
        with pytest.raises(InputError, match=said):
            yaml_files.mapping(file)
    with pytest.raises(InputError, match=r"cannot be read as text \(Is a directory\)"):
        yaml_files.mapping(tmp_path)
