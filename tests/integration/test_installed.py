"""The package as `pip install .` leaves it, away from the checkout: all its files, and commands that answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.store.schema import ROWS
from sweeps.store.store import Store
from tests.sweeps.synthetic_rows import sweep
from tests.tiny import save_tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("modelfolder", "rect", "tasks", "sweeps")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the package; what it depends on comes from the environment of the tests."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True)
    return target


def test_every_file_is_there(installed: Path) -> None:
    found = {
        file.relative_to(base)
        for base in (ROOT, installed)
        for name in PACKAGES
        for file in (base / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != "py.typed"
    }
    assert sorted(str(file) for file in found if not (installed / file).is_file()) == []


def test_commands_answer(installed: Path, tmp_path: Path) -> None:
    def answer(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(installed)}
        command = [sys.executable, "-m", "sweeps", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    model = save_tiny("llama", tmp_path / "model")
    rows = sweep(ks=(20,), tasks=("ner",))
    rows["n"] = rows["n"].astype(int)
    Store(tmp_path / "results").write("all", 1, rows[ROWS.names].to_dict("records"), [])
    assert "regularize" in answer("--help")
    assert "3 cells, 0 done" in answer("plan", str(ROOT / "configs" / "smoke.yaml"), "--set", f"models=['{model}']")
    assert "unedited" in answer("report", "results")
    assert (tmp_path / "results" / "report.html").stat().st_size > 100_000
    assert "figures/table-1.png" in answer("figure", "table-1", "results")
    assert "reasoning" in answer("tasks", "list")
