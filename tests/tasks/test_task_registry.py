"""Names of tasks, and what importing the package loads."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import task_records

import tasks
from modelfolder.errors import InputError

NAMES = [
    "reasoning",
    "nli",
    "open_domain_qa",
    "closed_domain_qa",
    "dialogue",
    "summarization",
    "ner",
    "sentiment",
]


def test_the_papers_eight() -> None:
    assert list(tasks.NAMES) == NAMES
    assert all(tasks.get(name).name == name for name in NAMES)
    sizes = [tasks.get(name).data.size for name in NAMES]
    assert sizes == [1319, 277, 3610, 3270, 886, 818, 3453, 872]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("summarisation", "did you mean 'summarization'"),
        ("open_domain_q", "did you mean 'open_domain_qa'"),
        ("", "known: reasoning, nli"),
        ("nil:likelihood", "did you mean 'nli'"),
        ("nowhere.yaml", "there is no such file"),
    ],
)
def test_unknown_names_get_the_nearest_known_one(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        tasks.get(name)


@pytest.mark.parametrize("name", NAMES)
def test_tasks_can_be_sent_to_another_process(name: str) -> None:
    task = pickle.loads(pickle.dumps(tasks.get(name)))
    example = task_records.examples(name)[0]
    assert task.prompt(example) == tasks.get(name).prompt(example)
    assert (task.version, task.name) == (tasks.get(name).version, name)


def modules_after(code: str) -> set[str]:
    """The modules loaded in a fresh process after running some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(tasks.__file__).parent.parent,
    )
    return {module.split(".")[0] for module in done.stdout.split()}


@pytest.mark.parametrize("code", ["import tasks", "import tasks; [tasks.get(name) for name in tasks.NAMES]"])
def test_nothing_heavy_is_imported(code: str) -> None:
    heavy = {"torch", "transformers", "vllm", "ray", "pandas", "numpy", "datasets", "nltk", "pydantic"}
    assert not modules_after(code) & heavy


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = tasks.nothing  # type: ignore[attr-defined]
