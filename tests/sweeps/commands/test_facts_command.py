"""`sweeps facts check`: what it says of files, of good and bad records, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.commands import app

OWN = {"subject": "Oslo", "prompt": "{} is in", "target": "Peru", "original": "Norway", "rephrasings": ["Oslo: ", "b"]}
KNOWEDIT: dict[str, Any] = {"subject": "Oslo", "prompt": "Oslo is in", "target_new": "Peru"}
KNOWEDIT |= {
    "portability": {"Reasoning": [{"prompt": "The currency of Oslo is the", "ground_truth": [["sol", "PEN"]]}]}
}
REWRITE = {"prompt": "{} is in", "subject": "Oslo", "target_new": {"str": "Peru"}}
MQUAKE: dict[str, Any] = {"requested_rewrite": [REWRITE, REWRITE | {"subject": "Rome"}], "questions": ["q"]}
MQUAKE |= {"new_answer": "a"}


def check(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> tuple[int, list[str], str]:
    with pytest.raises(SystemExit) as leaving:
        app.main(["facts", "check", str(path), *options])
    shown = capsys.readouterr()
    assert isinstance(leaving.value.code, int)
    return leaving.value.code, shown.out.splitlines(), shown.err


def write(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def test_what_is_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.jsonl", KNOWEDIT, KNOWEDIT | {"target_new": ""}, KNOWEDIT | {"locality": {"x": 3}})
    code, lines, _ = check(capsys, path)
    assert code == 0
    assert lines[:5] == [
        f"{path}: KnowEdit, format knowedit",
        "3 records: 1 facts; 2 would be skipped:",
        "  line 2: target_new is an empty string; a string with an answer, or a list of them, is wanted",
        "  line 3: locality.x is a number; an object is wanted",
        "                                facts with  in all",
    ]
    assert [line.split() for line in lines[5:]] == [
        ["portability", "prompts", "1", "1"],
        ["portability", "prompts:", "Reasoning", "1", "1"],
    ]


def test_repeated_edits_and_instances_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = check(capsys, write(tmp_path / "x.jsonl", MQUAKE, MQUAKE | {"case_id": 2}))
    assert code == 0
    assert lines[1] == "2 records: 4 facts of 2 instances"
    assert "2 edits stand in the edit set more than once" in lines[2]


def test_a_bad_record_of_ones_own_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.jsonl", OWN, OWN | {"tarket": 1}, *[OWN | {"target": ""}] * 30)
    code, lines, _ = check(capsys, path)
    assert code == 1
    assert lines[1] == "32 records: 1 facts; 31 an error in this format:"
    assert lines[2] == "  line 2: tarket: unknown key; did you mean 'target'?"
    assert "  and 11 more (--all names them)" in lines
    assert len([line for line in check(capsys, path, "--all")[1] if line.startswith("  line")]) == 31
    assert check(capsys, write(tmp_path / "y.jsonl", OWN))[0] == 0


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ('{"a": 1}', (), "no record looks like a format that is known"),
        (json.dumps(OWN), ("--format", "zrse"), "format 'zrse' is not known; did you mean 'zsre'?"),
        ("not json", (), "line 1: not valid JSON"),
        (None, (), "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_file_of_facts_is_one_line(
    content: str | None, options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "x").write_text(content)
    code, out, error = check(capsys, tmp_path / "x", *options)
    assert (code, out) == (2, [])
    assert said in error
    assert error.count("\n") == 1


def test_another_format_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = check(capsys, write(tmp_path / "x.jsonl", KNOWEDIT), "--format", "zsre")
    assert code == 1
    assert lines[2] == "  line 1: src is missing; it looks like KnowEdit, format knowedit"
