"""`sweeps doctor` on this machine, and on machines where a run could not work."""

from __future__ import annotations

import importlib.util
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from sweeps.commands import app, doctor


def found(what: str) -> doctor.Finding:
    return next(finding for finding in doctor.examine() if finding.what == what)


def test_this_machine_can_run() -> None:
    findings = doctor.examine()
    wrong = [finding for finding in findings if finding.state == "wrong"]
    assert wrong == []
    names = {finding.what for finding in findings}
    assert {"torch", "ray", "engine", "default model", "module tasks", "shared memory", "Ray token"} <= names
    assert found("torch").found == metadata.version("torch")
    expected = "vllm" if importlib.util.find_spec("vllm") else "transformers"
    assert found("engine").found == f"auto means {expected}"


def test_through_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        app.main(["doctor"])
    assert leaving.value.code == 0
    assert "A run can work here." in capsys.readouterr().out


def test_a_missing_package_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "ray" else real(name))
    assert found("ray").state == "wrong"
    assert "make setup" in found("ray").advice
    with pytest.raises(SystemExit) as leaving:
        app.main(["doctor"])
    assert leaving.value.code == 1
    assert "A run could not work: ray." in capsys.readouterr().out


def test_without_vllm_transformers_would_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real, find = doctor._version, importlib.util.find_spec
    monkeypatch.setattr(doctor, "_version", lambda name: None if "vllm" in name else real(name))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "vllm" else find(name, *a))
    assert found("vllm").state == "note"
    assert found("engine").found == "auto means transformers"


def test_a_stranger_of_the_same_name_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    stranger = SimpleNamespace(origin="/elsewhere/tasks/__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: stranger if name == "tasks" else find(name, *a))
    finding = found("module tasks")
    assert finding.state == "wrong"
    assert finding.found == "/elsewhere/tasks"
    assert "PYTHONPATH" in finding.advice


@pytest.mark.parametrize(("free", "state"), [(0.5, "wrong"), (3, "note"), (50, "fine")])
def test_disk(free: float, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=int(free * doctor.GIB), total=1, used=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert {finding.state for finding in doctor._disk()} == {state}


def test_the_cache_folder_need_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECT_SWEEPS_CACHE", str(tmp_path / "not" / "there"))
    assert "not/there" in found("disk of the cache").found
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("environment", "state", "told"),
    [
        ({}, "fine", "a local Ray makes one"),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, "note", "RAY_AUTH_MODE is not set"),
        ({"RAY_ADDRESS": "10.0.0.1:6379", "RAY_AUTH_MODE": "token"}, "wrong", "none in"),
        (
            {"RAY_ADDRESS": "10.0.0.1:6379", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"},
            "fine",
            "in RAY_AUTH_TOKEN",
        ),
    ],
)
def test_ray(
    environment: dict[str, str], state: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    finding = list(doctor._ray())[-1]
    assert finding.state == state
    assert told in finding.found
    assert "secret" not in finding.found


def test_texts_are_not_taken_for_markup() -> None:
    console = Console(record=True, width=100)
    doctor.show([doctor.Finding("disk", "[red]/path[/red]", "note", "[bold]x")], console)
    assert "[red]/path[/red]" in console.export_text()
