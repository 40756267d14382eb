"""The hub's part that can be seen without a network: rows of real `datasets` objects, and the message when offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import task_records

import tasks

datasets = pytest.importorskip("datasets")

TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
LABELS = {
    "nli": ("label", ["entailment", "not_entailment"]),
    "sentiment": ("label", ["negative", "positive"]),
    "ner": ("ner_tags", TAGS),
}


def as_on_the_hub(name: str) -> Any:
    """The hand-written records as the hub has them: class labels are numbers, their names stand in the features."""
    data = datasets.Dataset.from_list(task_records.RECORDS[name])
    if name not in LABELS:
        return data
    column, names = LABELS[name]
    label = datasets.ClassLabel(names=names)

    def number(value: Any) -> int:
        return value if isinstance(value, int) else names.index(value)

    many = name == "ner"
    numbered = data.map(lambda row: {column: [number(v) for v in row[column]] if many else number(row[column])})
    return numbered.cast_column(column, datasets.Sequence(label) if many else label)


@pytest.mark.parametrize("name", [name for name in tasks.NAMES if name != "open_domain_qa"])
def test_rows_of_the_hub_give_the_same_examples(name: str) -> None:
    from tasks import hub, sources

    groups = sources.parsed(tasks.get(name), hub.located(as_on_the_hub(name), "the/dataset test"))
    assert [example for group in groups.values() for example in group] == task_records.examples(name)


def test_a_malformed_row_of_the_hub_is_skipped_and_the_draw_of_the_others_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The network alone is stood in for: the rows are of a real data set."""
    from tasks import hub

    rows = [{"dialogue": f"a{i}", "summary": f"b{i}"} for i in range(12)]
    bad = {3, 7}

    def drawn(found: list[dict[str, str]], limit: int) -> list[str]:
        data = datasets.Dataset.from_list(found)
        monkeypatch.setattr(hub, "records", lambda task: (hub.located(data, "the/data test"), {"source": "hub"}))
        examples = tasks.get("summarization").examples("hub", limit=limit)
        provenance.append(examples.provenance)
        return [example.id for example in examples]

    provenance: list[dict[str, str]] = []
    whole = drawn(rows, 12)
    damaged = [{**row, "summary": " "} if i in bad else row for i, row in enumerate(rows)]
    with caplog.at_level("WARNING"):
        assert drawn(damaged, 10) == [one for one in whole if int(one) not in bad]
    assert "summarization: 2 of 12 records skipped: the/data test, row 3 (field 'summary' is empty); " in caplog.text
    assert [found.get("skipped") for found in provenance] == [None, "2"]
    some = set(drawn(rows, 6))
    assert some - {"3", "7"} <= set(drawn(damaged, 6))
    with pytest.raises(
        tasks.InputError, match=r"summarization: no record that can be used; first the/data test, row 0"
    ):
        drawn([{"dialogue": "a", "summary": ""}] * 2, 1)


def test_every_task_names_its_data_set() -> None:
    places = {name: tasks.get(name).data.hub for name in tasks.NAMES}
    assert all(place and "/" in place.path and place.split in ("test", "validation") for place in places.values())


def test_without_a_network_the_error_is_one_line(tmp_path: Path) -> None:
    code = (
        "import tasks\n"
        "try: tasks.get('reasoning').examples('hub', limit=2)\n"
        "except tasks.InputError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        cwd=Path(tasks.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("openai/gsm8k: cannot be loaded from the hub (")
    assert done.stdout.count("\n") == 1
