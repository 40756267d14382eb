"""Read facts from files: the project's own, the user's, ZsRE's and CounterFact's.

The public data sets hold bad records (empty targets): these are skipped, counted and named in the log. In the user's
own file, or when asked to be strict, a bad record is an error that names file and line.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from rect import hub as hub_repositories
from rect.errors import InputError
from rect.facts import Fact, Locality

log = logging.getLogger(__name__)

Record = Mapping[str, Any]
DATA_FILES = ["README.md", "*.json", "*.jsonl", "*.json.gz", "*.jsonl.gz", "*.parquet", "*.csv"]
SHOWN = 10  # skipped records that the log names one by one


def bundled() -> list[Fact]:
    """The facts that come with this package."""
    with resources.as_file(resources.files("rect") / "data" / "facts.jsonl") as path:
        return load(path)


def is_on_hub(source: str) -> bool:
    """Whether `read` would look for a source on the hub."""
    return source != "bundled" and not Path(source).exists() and not source.endswith((".json", ".jsonl"))


def read(source: str, format: str = "facts", strict: bool = False) -> list[Fact]:
    """Facts from wherever they are: "bundled", a file, or a data set on the hub; see `load` and `hub`."""
    if source == "bundled":
        return bundled()
    return (hub if is_on_hub(source) else load)(source, format=format, strict=strict)


def load(path: str | os.PathLike[str], format: str = "facts", strict: bool = False) -> list[Fact]:
    """Read a file of one JSON object a line, or of one JSON array.

    Args:
        path: the file, UTF-8.
        format: "facts" (keys as `Fact`; the prompt holds {} or the subject itself), "zsre" or "counterfact".
        strict: a bad record of the public formats is an error too.

    Raises:
        InputError: no such file, not JSON, a bad record (see above), or no record that can be used.
    """
    path = Path(path)
    convert = _converter(format)
    records = ((f"line {line}", record) for line, record in _read(path))
    return _facts(str(path), records, convert, strict or format == "facts")


def hub(
    name: str,
    format: str = "counterfact",
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    strict: bool = False,
) -> list[Fact]:
    """Read facts from a data set on the Hugging Face hub, or from a folder that the package `datasets` understands.

    Args:
        name: hub id such as "azhx/counterfact", or a folder.
        format: what its records look like, as in `load`.
        split, config, revision: which part and version of it.
        strict: a bad record is an error.

    Raises:
        InputError: it cannot be had, or its records are not of this format.
    """
    convert = _converter(format)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if not hub_repositories.is_id(name):
            raise InputError(f"data set {name!r}: no such folder, nor can it be the id of a data set on the hub")
        folder = hub_repositories.snapshot(name, "dataset", revision, DATA_FILES)
    import datasets

    try:
        rows = datasets.load_dataset(str(folder), config, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"data set {name!r}, split {split!r}: cannot be loaded ({reason})") from None
    records = ((f"record {index}", row) for index, row in enumerate(rows))
    return _facts(f"{name}, split {split}", records, convert, strict or format == "facts")


# The formats


def _own(record: Record, where: str) -> Fact:
    data = dict(record)
    prompt, subject = data.get("prompt"), data.get("subject")
    if isinstance(prompt, str) and isinstance(subject, str) and subject.strip():
        data["prompt"] = _with_place(prompt, subject.strip())
    return Fact(**data)


def _zsre(record: Record, where: str) -> Fact:
    """ZsRE in the form of MEND: src, rephrase, alt (the new answer), pred (the old one), loc, loc_ans."""
    subject = _text(record, "subject")
    rephrase, loc = record.get("rephrase"), record.get("loc")
    return Fact(
        subject=subject,
        prompt=_with_place(_text(record, "src"), subject),
        target=_text(record, "alt"),
        original=record.get("pred"),
        rephrasings=(rephrase,) if rephrase else (),
        locality=(Locality(prompt=loc, answer=record.get("loc_ans")),) if loc else (),
        id=f"zsre {where}",
    )


def _counterfact(record: Record, where: str) -> Fact:
    """CounterFact in the form of ROME: requested_rewrite, paraphrase_prompts, neighborhood_prompts."""
    rewrite = record.get("requested_rewrite")
    if not isinstance(rewrite, Mapping):
        raise InputError("requested_rewrite is missing")
    subject = _text(rewrite, "subject")
    true = _answer(rewrite, "target_true") if rewrite.get("target_true") else None
    return Fact(
        subject=subject,
        prompt=_with_place(_text(rewrite, "prompt"), subject),
        target=_answer(rewrite, "target_new"),
        original=true,
        rephrasings=tuple(record.get("paraphrase_prompts") or ()),
        locality=tuple(Locality(prompt=text, answer=true) for text in record.get("neighborhood_prompts") or ()),
        id=f"counterfact {record.get('case_id', where)}",
    )


FORMATS: dict[str, Callable[[Record, str], Fact]] = {"facts": _own, "zsre": _zsre, "counterfact": _counterfact}


def _converter(format: str) -> Callable[[Record, str], Fact]:
    if format not in FORMATS:
        near = difflib.get_close_matches(format, FORMATS, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"format {format!r} is not known{hint}; known: {', '.join(FORMATS)}")
    return FORMATS[format]


def _text(record: Record, key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise InputError(f"{key} is missing" if value is None else f"{key} is not a string")
    return value


def _answer(rewrite: Record, key: str) -> str:
    answer = rewrite.get(key)
    if not isinstance(answer, Mapping):
        raise InputError(f"requested_rewrite.{key} is missing")
    return _text(answer, "str")


def _with_place(prompt: str, subject: str) -> str:
    """The prompt with {} where the subject stands: at its first occurrence as a word, else at its first."""
    if "{}" in prompt or not subject:
        return prompt
    found = re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", prompt) or re.search(re.escape(subject), prompt)
    if found is None:
        raise InputError(f"subject not in prompt: {subject!r} does not occur in {prompt!r}, nor does {{}}")
    return prompt[: found.start()] + "{}" + prompt[found.end() :]


# Reading


def _facts(
    source: str, records: Iterable[tuple[str, Any]], convert: Callable[[Record, str], Fact], strict: bool
) -> list[Fact]:
    facts: list[Fact] = []
    skipped: list[str] = []
    for where, record in records:
        try:
            if not isinstance(record, Mapping):
                raise InputError("not a JSON object")
            facts.append(convert(record, where).read_from(f"{source}, {where}"))
        except InputError as error:
            if strict:
                raise InputError(f"{source}, {where}: {error}") from None
            skipped.append(f"{where} ({error})")
    if not facts:
        raise InputError(f"{source}: no record that can be used" + (f"; first {skipped[0]}" if skipped else ""))
    if skipped:
        named = "; ".join(skipped[:SHOWN]) + ("; ..." if len(skipped) > SHOWN else "")
        log.warning("%s: %d of %d records skipped: %s", source, len(skipped), len(facts) + len(skipped), named)
    return facts


def _read(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, record) of a file with one JSON object a line, or one JSON array."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; one JSON object a line is wanted") from None
    return _array(path, text) if text.lstrip().startswith("[") else _lines(path, text)


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}: not JSON ({error.msg} at column {error.colno})") from None
            yield number, record


def _array(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """The elements of a JSON array, each with the line on which it begins."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg} at column {error.colno})") from None
    decoder, at, line = json.JSONDecoder(), text.index("[") + 1, 1 + text[: text.index("[")].count("\n")
    while True:
        while text[at] in " \t\r\n,":
            line += text[at] == "\n"
            at += 1
        if text[at] == "]":
            return
        record, end = decoder.raw_decode(text, at)
        yield line, record
        line += text.count("\n", at, end)
        at = end
