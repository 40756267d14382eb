"""Places that cannot be written or read: one line before anything is computed, whichever command is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from modelfolder.errors import InputError
from rect import places
from rect.cache import build_once
from sweeps.commands import app
from sweeps.store.folder import Folder
from tests.sweeps.small import small_config

TEXT = "\u4e2d\u6587"
NOWHERE = "no/such-model"  # where a command gets as far as the model, the line names this
LONG = "x" * 300
DEEP = "/".join(["x" * 200] * 30)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command refuses its input."""
    with pytest.raises(SystemExit) as left:
        app.main(arguments)
    assert left.value.code == app.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def bad(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A path, and what is said of it."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    return {
        "file": (f"{tmp_path}/file", "is a file"),
        "under": (f"{tmp_path}/file/a/b", f"{tmp_path}/file is a file"),
        "link": (f"{tmp_path}/link", "is a link to what is not there"),
        "long": (f"{tmp_path}/{LONG}", "a name of 300 bytes is too long"),
        "deep": (f"{tmp_path}/{DEEP}", "bytes is too long"),
        "unwritable": ("/proc/nowhere/a", "/proc cannot be written ("),
    }[request.param]


every = pytest.mark.parametrize("bad", ["file", "under", "link", "long", "deep", "unwritable"], indirect=True)
to_read = pytest.mark.parametrize("bad", ["file", "under", "link", "long", "deep"], indirect=True)


@every
def test_a_folder_to_write(bad: tuple[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        places.check_folder("--out it", bad[0])
    assert str(caught.value).startswith(f"--out it: {bad[1]}" if bad[1][0] in "i/a" else "--out it: a path of ")
    assert bad[1] in str(caught.value)


def test_a_good_folder_stays_as_it_is(tmp_path: Path) -> None:
    for name in (".", "new", "new/a/b"):
        places.check_folder("it", tmp_path / name)
        places.check_readable("it", tmp_path / name)
    places.check_file("it", tmp_path / "new" / "file")
    (tmp_path / "there").write_text("kept")
    places.check_file("it", tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"closed cannot be written \(Permission denied\)"):
        places.check_folder("it", tmp_path / "closed" / "new")


def test_names_that_are_none() -> None:
    for name, reason in (("a\0b", "holds a NUL"), ("a\ud800", "is not valid Unicode")):
        with pytest.raises(InputError, match=reason):
            places.check_folder("it", name)
        with pytest.raises(InputError, match=reason):
            places.check_file("it", name)


def test_a_file_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        places.check_file("it", tmp_path)


def test_a_home_that_nobody_knows_is_no_error() -> None:
    assert places.expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


@to_read
@pytest.mark.parametrize("command", ["report", "status", "export", "compare", "figure", "cache list", "cache prune"])
def test_a_sweep_is_no_folder(command: str, bad: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"compare": [bad[0], bad[0]], "figure": ["3", bad[0]]}.get(command, [bad[0]])
    assert bad[1] in refused([*command.split(), *arguments], capsys)


@every
@pytest.mark.parametrize("command", ["run", "evaluate", "edit", "save-update", "apply", "regularize", "train-mend"])
def test_results_have_no_place(
    command: str, bad: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, reason = bad
    config = tmp_path / "sweep.yaml"
    config.write_text(small_config(Path("tiny")).as_yaml().replace("tiny", NOWHERE), encoding="utf-8")
    mend = tmp_path / "mend.yaml"
    mend.write_text(yaml.safe_dump({"model": NOWHERE, "out": place}), encoding="utf-8")
    fact = ["edit", "--subject", "France", "--prompt", "{} is", "--target", "Rome", "--model", NOWHERE]
    arguments = {
        "run": ["run", str(config), "--out", place],
        "evaluate": ["evaluate", NOWHERE, "--tasks", "nli", "--engine", "transformers", "--out", place],
        "edit": [*fact, "--save", place],
        "save-update": [*fact, "--save-update", f"{place}/update.safetensors"],
        "apply": ["apply", NOWHERE, "no.safetensors", "--save", place],
        "regularize": ["regularize", NOWHERE, NOWHERE, "--save", place, "--k", "40"],
        "train-mend": ["train-mend", str(mend)],
    }[command]
    line = refused(arguments, capsys)
    assert NOWHERE not in line
    assert reason in line or "already and not empty" in line


@pytest.mark.parametrize("command", ["export", "compare"])
def test_a_table_has_no_place(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before rows are read: there are none."""
    folders = [str(tmp_path)] * (2 if command == "compare" else 1)
    for place, reason in ((tmp_path, "is a folder; name a file in it"), ("/proc/nowhere/t.csv", "cannot be written")):
        line = refused([command, *folders, "--out", str(place)], capsys)
        assert line.startswith(f"error: --out {place}: ")
        assert reason in line


def test_a_report_where_nothing_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["report", "/proc"],
        ["export", "/proc"],
        ["figure", "3", "/proc"],
        ["cache", "prune", "/proc", "--yes"],
    ):
        assert "/proc: /proc cannot be written (" in refused(command, capsys)


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setenv("RECT_SWEEPS_CACHE", "/proc/nowhere")
    with pytest.raises(
        InputError, match=r"cache /proc/nowhere \(RECT_SWEEPS_CACHE says where it is\): /proc cannot be"
    ):
        build_once(Path("/proc/nowhere/model"), made.append)
    assert made == []


@pytest.mark.parametrize("name", [LONG, DEEP])
def test_names_of_what_is_read_that_are_too_long(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fact = ["edit", "--subject", "France", "--prompt", "{} is", "--target", "Rome"]
    config = tmp_path / "sweep.yaml"
    config.write_text(small_config(Path("tiny")).as_yaml(), encoding="utf-8")
    for arguments in (
        ["plan", name],
        ["plan", str(config), "--set", f"edits.source={name}.jsonl"],
        ["plan", str(config), "--set", f"tasks.source={name}"],
        [*fact, "--model", name],
        [*fact, "--prompts", name],
        [*fact, "--hparams", name],
        ["apply", NOWHERE, name, "--save", str(tmp_path / "new")],
        ["tasks", "preview", "nli", "--source", name],
        ["tasks", "preview", f"{name}.yaml"],
    ):
        assert "x" * 30 in refused(arguments, capsys), arguments[:3]


def test_a_folder_of_a_sweep_is_looked_at_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file; a folder is wanted"):
        Folder(tmp_path / "file")
    Folder("memory://nothing/of/this/machine").check_writable("--out")


def command(arguments: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: what it says of the folder and the terminal that it is started with."""
    here = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder), **environment}
    start = "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]) if sys.argv[2] == 'gone' else None; "
    start += "sys.argv[:] = ['sweeps', *sys.argv[3:]]; from sweeps.commands.app import main; main()"
    gone = environment.get("GONE", "")
    words = [sys.executable, "-c", start, str(folder), gone, *arguments]
    return subprocess.run(words, env=here, capture_output=True, text=True, encoding="utf-8", timeout=300)


def test_a_working_directory_that_was_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    done = command(["tasks", "list"], folder, GONE="gone")
    assert done.returncode == app.BAD_INPUT
    assert done.stderr == "error: the working directory was deleted, or cannot be read: change to one that is there\n"


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_terminal_that_cannot_show_a_character(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "it.jsonl").write_bytes(json.dumps({"prompt": TEXT, "answer": TEXT}, ensure_ascii=False).encode())
    done = command(["tasks", "preview", "it.jsonl", "--n", "1"], tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert TEXT in done.stdout.encode().decode("unicode-escape") or TEXT in done.stdout
