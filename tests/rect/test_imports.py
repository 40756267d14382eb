"""What an import costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rect

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "pandas", "numpy", "datasets", "huggingface_hub", "pydantic", "ray", "vllm")


def loaded(script: str) -> set[str]:
    """Top-level modules that are loaded after a script ran in a process of its own."""
    code = f"{script}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_alone_is_light() -> None:
    assert not loaded("import rect; rect.__version__; dir(rect)") & set(HEAVY)


def test_no_module_needs_ray_or_vllm() -> None:
    every = "import pkgutil, importlib, rect\n"
    every += "for m in pkgutil.walk_packages(rect.__path__, 'rect.'): importlib.import_module(m.name)"
    found = loaded(every)
    assert {"rect", "torch", "transformers"} <= found
    assert not found & {"ray", "vllm", "sweeps", "tasks"}


def test_every_name_is_there() -> None:
    for name in rect.__all__:
        assert getattr(rect, name) is not None
    assert set(rect.__all__) <= set(dir(rect))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rect.nothing  # type: ignore[attr-defined]


def test_the_error_has_the_name_that_scripts_import() -> None:
    assert loaded("from rect.errors import InputError; import rect; assert InputError is rect.InputError")


def test_the_version_is_the_distribution_s() -> None:
    assert rect.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
