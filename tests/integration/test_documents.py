"""What the documents say of files is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "configs").rglob("*.md"))]
TOPS = ("modelfolder", "rect", "tasks", "sweeps", "configs", "docs", "benchmarks", "tests", "deploy", "requirements")
PATH = re.compile(rf"(?<![\w./:-])(?:{'|'.join(TOPS)})/[\w./*-]*\w/?(?![\w/<>{{*])")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def named(text: str) -> Iterator[str]:
    """Paths of this project in a text: from its top, and not a pattern or a form such as `tasks/<name>.py`."""
    for path in PATH.findall(text):
        yield path.rstrip(".")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_files_that_are_named_are_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    lost = [path for path in named(text) if not any(ROOT.glob(path))]
    lost += [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert lost == []


def test_paths_are_seen() -> None:
    text = "In `sweeps/plan/grid.py`, rect/data/*.jsonl and tasks/; not `tasks/<name>.py`, not https://x.org/docs/y.md."
    assert list(named(text)) == ["sweeps/plan/grid.py", "rect/data/*.jsonl"]


def test_every_room_is_in_the_house() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [file.parent for package in ("sweeps", "rect") for file in (ROOT / package).glob("*/__init__.py")]
    assert rooms
    assert [room.name for room in rooms if f"{room.name}/" not in page] == []
