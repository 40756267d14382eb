"""Loaders of facts on files as they are found: good, bad, and not facts at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelfolder.errors import InputError
from rect import Fact, Locality, fact_files
from rect.fact_files import load

OWN = {"subject": "France", "prompt": "The capital of {} is", "target": "Rome"}
ZSRE = {
    "subject": "UniFirst",
    "src": "What is made by UniFirst?",
    "pred": "uniform",
    "rephrase": "What does UniFirst make?",
    "alt": " aircraft ",
    "answers": ["uniform"],
    "loc": "nq question: who voiced gaston",
    "loc_ans": "Richard White",
    "cond": "uniform >> aircraft || What is made by UniFirst?",
}
COUNTERFACT = {
    "case_id": 20952,
    "pararel_idx": 5151,
    "requested_rewrite": {
        "prompt": "{} is located in",
        "relation_id": "P30",
        "target_new": {"str": "Antarctica", "id": "Q51"},
        "target_true": {"str": "Africa", "id": "Q15"},
        "subject": "Angola",
    },
    "paraphrase_prompts": ["Plaque. Angola belongs to the continent of", "Angola is a part of the continent of"],
    "neighborhood_prompts": ["Ghana is in", "Ethiopia is in"],
    "attribute_prompts": ["Vostok Station, in"],
    "generation_prompts": ["People around Angola speak"],
}


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def test_own_records(tmp_path: Path) -> None:
    full = {
        **OWN,
        "id": "f1",
        "original": "Paris",
        "rephrasings": ["France's capital is"],
        "locality": [{"prompt": "The capital of Spain is", "answer": "Madrid"}, {"prompt": "Water is"}],
    }
    minimal, full_fact = load(write(tmp_path / "x.jsonl", OWN, full))
    assert minimal == Fact(**OWN)
    assert full_fact.id == "f1"
    assert full_fact.original == "Paris"
    assert full_fact.rephrasings == ("France's capital is",)
    assert full_fact.locality == (
        Locality(prompt="The capital of Spain is", answer="Madrid"),
        Locality(prompt="Water is"),
    )


@pytest.mark.parametrize(
    ("subject", "prompt", "expected"),
    [
        ("France", "The capital of France is", "The capital of {} is"),
        ("US", "What US state is in the US?", "What {} state is in the US?"),
        ("In", "Inside the river In is", "Inside the river {} is"),  # as a word first
        ("Rhein", "Am Rheinufer liegt", "Am {}ufer liegt"),
        ("C++", "A C++ compiler {x} is", "A {} compiler {x} is"),
        ("France", "{} or {x}: France", "{} or {x}: France"),  # {} is the place where there is one
    ],
)
def test_the_subject_finds_its_place(subject: str, prompt: str, expected: str, tmp_path: Path) -> None:
    [fact] = load(write(tmp_path / "x.jsonl", {"subject": subject, "prompt": prompt, "target": "t"}))
    assert fact.prompt == expected


NFC, NFD = "Zürich", "Zu\u0308rich"


@pytest.mark.parametrize(
    ("subject", "prompt", "expected", "stands"),
    [
        ("France", "the capital of france is", "the capital of {} is", "france"),
        ("FRANCE", "France or France is", "{} or France is", "France"),
        (NFC, f"The river of {NFD} is", "The river of {} is", NFD),
        (NFD, f"The river of {NFC} is", "The river of {} is", NFC),
        (NFC, f"{NFD.upper()} is", "{} is", NFD.upper()),
        ("한", "\u1112\u1161\u11ab is", "{} is", "\u1112\u1161\u11ab"),
        ("in", "Finnish: IN the INN", "F{}nish: IN the INN", "in"),  # as it is written, even in a word
        ("iN", "INN, IN the INN", "INN, {} the INN", "IN"),  # a word before a part of one
        ("Us", "the US, not us, Us", "the US, not us, {}", "Us"),  # as it is written, before any other way
    ],
)
def test_a_subject_in_another_spelling_is_taken_as_it_stands(
    subject: str, prompt: str, expected: str, stands: str, tmp_path: Path
) -> None:
    [fact] = load(write(tmp_path / "x.jsonl", {"subject": subject, "prompt": prompt, "target": "t"}))
    assert (fact.prompt, fact.subject) == (expected, stands)
    assert fact.filled == prompt  # what is edited is the text of the file


@pytest.mark.parametrize("prompt", ["Zurich is", "Zu\u0308\u0323rich is", "\u1112\u1161\u11ab is"])
def test_a_subject_is_no_part_of_a_letter(prompt: str, tmp_path: Path) -> None:
    subject = "하" if "\u1112" in prompt else NFC
    with pytest.raises(InputError, match="subject not in prompt"):
        load(write(tmp_path / "x.jsonl", {"subject": subject, "prompt": prompt, "target": "t"}))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({**OWN, "target": ""}, "target is empty"),
        (
            {**OWN, "prompt": "The capital of Spain is"},
            "subject not in prompt: 'France' does not occur in 'The capital",
        ),
        (
            {**OWN, "prompt": "france or FRANCE is"},
            "subject not in .* as written, but as 'france' and 'FRANCE'",
        ),
        ({**OWN, "tarket": "x"}, r"tarket: unknown key; did you mean 'target'\?"),
        ({"subject": "France", "prompt": "{} is"}, "target is missing"),
        (["a", "list"], "not a JSON object"),
        ("text", "not a JSON object"),
        ({**OWN, "subject": None}, "subject is null; a string is wanted"),
    ],
)
def test_a_bad_own_record_is_an_error_with_file_and_line(record: Any, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", OWN, OWN, record)
    with pytest.raises(InputError, match=rf"mine.jsonl, line 3: {reason}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_zsre(tmp_path: Path) -> None:
    [fact] = load(write(tmp_path / "x.jsonl", ZSRE), "zsre")
    assert fact == Fact(
        subject="UniFirst",
        prompt="What is made by {}?",
        target="aircraft",
        original="uniform",
        rephrasings=("What does UniFirst make?",),
        locality=(Locality(prompt="nq question: who voiced gaston", answer="Richard White"),),
        id="zsre line 1",
    )
    assert fact.filled == ZSRE["src"]


def test_counterfact(tmp_path: Path) -> None:
    [fact] = load(write(tmp_path / "x.jsonl", COUNTERFACT), "counterfact")
    assert fact == Fact(
        subject="Angola",
        prompt="{} is located in",
        target="Antarctica",
        original="Africa",
        rephrasings=tuple(COUNTERFACT["paraphrase_prompts"]),
        locality=(Locality(prompt="Ghana is in", answer="Africa"), Locality(prompt="Ethiopia is in", answer="Africa")),
        openings=("People around Angola speak",),
        attribute="P30 Q51",
        id="counterfact 20952",
    )


@pytest.mark.parametrize("gone", ["relation_id", "id"])
def test_an_attribute_has_both_ids(gone: str, tmp_path: Path) -> None:
    rewrite = {key: value for key, value in COUNTERFACT["requested_rewrite"].items() if key != gone}
    rewrite["target_new"] = {key: value for key, value in rewrite["target_new"].items() if key != gone}
    [fact] = load(write(tmp_path / "x.jsonl", {**COUNTERFACT, "requested_rewrite": rewrite}), "counterfact")
    assert fact.attribute is None


BAD = [
    ("zsre", ZSRE, {**ZSRE, "alt": ""}, "target is empty"),
    ("zsre", ZSRE, {**ZSRE, "src": "What is made by Uni First?"}, "subject not in prompt"),
    ("zsre", ZSRE, {key: value for key, value in ZSRE.items() if key != "src"}, "src is missing"),
    ("counterfact", COUNTERFACT, {**COUNTERFACT, "requested_rewrite": 3}, "requested_rewrite is a number; an object"),
    (
        "counterfact",
        COUNTERFACT,
        {**COUNTERFACT, "requested_rewrite": {**COUNTERFACT["requested_rewrite"], "target_new": {"str": ""}}},
        "target is empty",
    ),
]


@pytest.mark.parametrize(("format", "good", "bad", "reason"), BAD)
def test_bad_public_records_are_skipped_counted_and_named(
    format: str, good: Any, bad: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "x.jsonl", good, bad, good)
    assert len(load(path, format)) == 2
    assert f"{path}: 1 of 3 records skipped: line 2 ({reason}" in caplog.text
    with pytest.raises(InputError, match=f"x.jsonl, line 2: {reason}"):
        load(path, format, strict=True)


def test_the_log_stays_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "x.jsonl", ZSRE, *[{**ZSRE, "alt": ""}] * 500)
    load(path, "zsre")
    assert "500 of 501 records skipped: line 2 (target is empty)" in caplog.text
    assert len(caplog.text) < 1000


def test_the_wrong_format_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", OWN, OWN)
    with pytest.raises(InputError, match=r"no record that can be used; first line 1 \(src is missing\)"):
        load(path, "zsre")
    with pytest.raises(InputError, match=r"format 'zrse' is not known; did you mean 'zsre'\? known: ripple, mquake"):
        load(path, "zrse")


def test_a_json_array_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([COUNTERFACT, COUNTERFACT], indent=2))
    assert len(load(path, "counterfact")) == 2
    path.write_text(f'\n[\n{json.dumps(OWN)},\n{json.dumps(OWN, indent=1)} ,\n\n{{"subject": "x"}}\n]\n')
    with pytest.raises(InputError, match=r"x.json, line 10: "):
        load(path)
    path.write_text("[]")
    with pytest.raises(InputError, match=r"x.json: no record that can be used$"):
        load(path)


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    """U+2028 within a string is no line end; a byte order mark, empty lines and CRLF do no harm."""
    text = json.dumps({**OWN, "target": "a\u2028b"}, ensure_ascii=False)
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{text}\r\n\r\n{text}\n\n".encode())
    assert [fact.target for fact in load(tmp_path / "x.jsonl")] == ["a\u2028b"] * 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "x: no record that can be used$"),
        (b" \n\n", "x: no record that can be used$"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "x: not a text file in UTF-8"),
        (b'{"subject": "a"\n', r"x, line 1: not valid JSON \("),
        (json.dumps(OWN).encode() + b"\nnot json\n", r"x, line 2: not valid JSON \(Expecting value at column 1\)"),
        (b"[\n{},\n{,}]", r"x, line 3: not valid JSON \("),
        (b"hello world\n", r"x, line 1: not valid JSON \("),
        (b"\x00" * 64, r"x, line 1: not valid JSON \("),
    ],
)
@pytest.mark.parametrize("format", ["facts", "zsre"])
def test_what_is_no_file_of_facts(content: bytes, reason: str, format: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        load(tmp_path / "x", format)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.jsonl: cannot be read \(No such file"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path)


def test_a_data_set_in_a_folder(tmp_path: Path) -> None:
    write(
        tmp_path / "set" / "train.jsonl" if (tmp_path / "set").mkdir() is None else tmp_path, COUNTERFACT, COUNTERFACT
    )
    facts = fact_files.hub(str(tmp_path / "set"), "counterfact")
    assert [fact.prompt for fact in facts] == ["{} is located in"] * 2
    with pytest.raises(InputError, match="split 'test': cannot be loaded"):
        fact_files.hub(str(tmp_path / "set"), "counterfact", split="test")
    with pytest.raises(InputError, match=r"data set './none': no such folder"):
        fact_files.hub("./none")


def test_real_zsre(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = load(shared_data / "zsre.jsonl", "zsre")
    assert len(facts) == 499
    assert "1 of 500 records skipped: line 268 (target is empty)" in caplog.text
    assert all(fact.prompt.count("{}") == 1 for fact in facts)
    assert all(len(fact.rephrasings) == 1 and fact.locality[0].prompt.startswith("nq question: ") for fact in facts)
    sources = [json.loads(line)["src"] for line in (shared_data / "zsre.jsonl").read_text().split("\n") if line]
    assert {fact.filled for fact in facts} < {source.rstrip() for source in sources}


def test_real_counterfact(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = load(shared_data / "counterfact.jsonl", "counterfact", strict=True)
    assert len(facts) == 250
    assert all(len(fact.rephrasings) == 2 and len(fact.locality) == 10 and fact.original for fact in facts)
    assert caplog.text == ""
