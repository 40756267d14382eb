"""A judge of the user's own: a command that reads answers as JSON lines and says of each whether it is right."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from modelfolder.errors import InputError
from modelfolder.values import shown
from sweeps.plan import asked
from sweeps.plan.chain import identify
from sweeps.results.tradeoff import IDS
from sweeps.store.schema import complete, measurement

FIGURE = "judged"
COLUMNS = ("engine", "package_version", "environment", *IDS)  # of the rows that the answers belong to


def judge(folder: str | os.PathLike[str], command: Sequence[str]) -> tuple[int, int]:
    """Have the answers of a sweep judged that this command has not judged yet; rows `<metric>/<kind>/judged` are added.

    Judged is what a metric of the model's own words has right answers for. The same answer to the same prompt is asked
    once. Nothing is generated, no model is loaded.

    Args:
        folder: a sweep's.
        command: a program with its arguments, run without a shell. It reads lines {"id", "prompt", "answers", "said",
            "answer"}: answers that are right, all that was said, its first line; and writes one line for each, in
            any order: {"id", "right"}, true, false, or a number from 0 to 1.

    Returns:
        Answers judged, and lines that the command read.

    Raises:
        InputError: there are no answers with their texts, the command cannot be run or fails, or says something else.
    """
    found = asked.read(folder)
    said = _answers(found.outputs.frame(metrics=True))
    if said.empty:
        raise InputError(
            f"{folder}: there are no answers to judge; a sweep keeps some with metrics: [generation], unless "
            "keep_texts is false"
        )
    how = [*command, *map(_content, command[:2])]
    ids = {of: identify("evaluation", "judge", of, how) for of in said["evaluation"].unique()}
    done = found.store.done()
    keys = ["cell", "n_edits", "evaluation"]
    said = said[[(cell, n, ids[of]) not in done for cell, n, of in zip(*(said[key] for key in keys), strict=True)]]
    if said.empty:
        return 0, 0
    known = {key: str(number) for number, key in enumerate(dict.fromkeys(said["key"]))}
    verdicts = _verdicts(command, {number: key for key, number in known.items()})
    said = said.assign(right=[verdicts[known[key]] for key in said["key"]])
    axes = found.rows.drop_duplicates(keys).set_index(keys)
    for _, part in said.groupby(keys, sort=False):
        cell, n_edits, of = str(part["cell"].iloc[0]), int(part["n_edits"].iloc[0]), str(part["evaluation"].iloc[0])
        found.store.put_evaluation(ids[of], {"judge": list(command), "of": of})
        where = {name: axes.loc[(cell, n_edits, of), name] for name in COLUMNS}
        rows = complete(_rows(part, ids[of]), {"cell": cell, "n_edits": n_edits, **where})
        found.store.write(cell, n_edits, rows, [])
    return len(said), len(known)


def _answers(outputs: pd.DataFrame) -> pd.DataFrame:
    """Outputs of metrics that have right answers, with `kind`, and as `key` what the command is told of it (JSON)."""
    golds = outputs["gold"].map(json.loads)
    said = outputs.assign(kind=[gold["kind"] for gold in golds])
    columns = zip(said["prompt"], (gold["answers"] for gold in golds), said["output"], strict=True)
    said["key"] = [json.dumps(one, ensure_ascii=False) for one in columns]
    return said[[bool(gold["answers"]) for gold in golds]]


def _content(word: str) -> str | None:
    """SHA-256 of a script: another one is another judge. None of a compiled program, or where there is no such file."""
    path = Path(word)
    data = path.read_bytes() if path.is_file() else b"\x7fELF"
    return None if data.startswith(b"\x7fELF") else hashlib.sha256(data).hexdigest()


def _rows(part: pd.DataFrame, evaluation: str) -> list[dict[str, Any]]:
    """Per fact the mean over its prompts of a kind, and these averaged."""
    name = str(part["task"].iloc[0]).removeprefix("metric ")
    kinds = {kind for one in part["kind"].unique() for kind in (one, one.partition("/")[0])}
    rows = []
    for kind in sorted(kinds):
        mine = part[(part["kind"] == kind) | part["kind"].str.startswith(f"{kind}/")]
        facts = mine.groupby(mine["unit"].str.removeprefix("fact-").astype(int))["right"].mean()
        metric = f"{name}/{kind}/{FIGURE}"
        error = float(facts.sem()) if len(facts) > 1 else float("nan")
        rows.append(measurement("edit", metric, float(facts.mean()), error, len(facts), evaluation))
        rows += [
            measurement("edit", f"{metric}/fact-{fact}", value, n=1, evaluation=evaluation)
            for fact, value in facts.items()
        ]
    return rows


def _verdicts(command: Sequence[str], questions: dict[str, str]) -> dict[str, float]:
    """{id: what the command says}"""
    lines = []
    for number, key in questions.items():
        prompt, answers, said = json.loads(key)
        first = said.strip().partition("\n")[0].strip()
        record = {"id": number, "prompt": prompt, "answers": answers, "said": said, "answer": first}
        lines.append(json.dumps(record, ensure_ascii=False))
    told = _run(command, "\n".join(lines) + "\n")
    found: dict[str, float] = {}
    for at, line in enumerate(told.splitlines(), 1):
        number, right = _verdict(line, f"judge {command[0]}: line {at} of what it said")
        if number not in questions or number in found:
            again = "a second time" if number in found else "which it was not asked"
            raise InputError(f"judge {command[0]}: line {at} of what it said has the id {number[:60]!r} {again}")
        found[number] = right
    if len(found) < len(questions):
        gone = next(number for number in questions if number not in found)
        raise InputError(
            f"judge {command[0]}: it said {len(found)} lines of {len(questions)}; one for the id {gone!r} is missing"
        )
    return found


def _run(command: Sequence[str], text: str) -> str:
    try:
        done = subprocess.run(list(command), input=text.encode(), capture_output=True, check=False)
    except OSError as error:
        raise InputError(f"judge {command[0]}: cannot be run: {error.strerror}") from None
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise InputError(f"judge {command[0]}: ended with {done.returncode}: {last}")
    try:
        return done.stdout.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"judge {command[0]}: what it said is not UTF-8 (byte {error.start})") from None


def _verdict(line: str, where: str) -> tuple[str, float]:
    try:
        record = json.loads(line)
        number, right = record["id"], record["right"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f'{where} is {shown(line)}; an object {{"id": ..., "right": ...}} is wanted') from None
    if not isinstance(right, bool | int | float) or not 0 <= right <= 1:
        raise InputError(
            f"{where} has {json.dumps(right)[:60]} for right; true, false or a number from 0 to 1 is wanted"
        )
    return str(number), float(right)
