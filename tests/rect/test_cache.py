"""Cache folders are whole or not there, with real processes that race and are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rect.cache import build_once, cache_folder, is_complete

ROOT = Path(__file__).resolve().parents[2]

# Builds a folder of two files with a pause between them, notes each build, then prints what it found.
BUILDER = """
import sys, time
from pathlib import Path
from rect.cache import build_once
folder, notes, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def build(draft):
    with notes.open("a") as f: f.write("build\\n")
    (draft / "a").write_text("first")
    print("half", flush=True)
    time.sleep(pause)
    (draft / "deep").mkdir()
    (draft / "deep" / "b").write_text("second")
found = build_once(folder, build)
print((found / "a").read_text(), (found / "deep" / "b").read_text(), flush=True)
"""


def start(folder: Path, notes: Path, pause: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(folder), str(notes), str(pause)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    both = [start(tmp_path / "cache" / "model", tmp_path / "notes", 1.5) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(output.count("half") for output in outputs) == [0, 1]
    assert all("first second" in output for output in outputs)
    assert (tmp_path / "notes").read_text() == "build\n"
    assert files(tmp_path / "cache") == {"model/a", "model/deep/b", "model/manifest.json"}


def test_a_killed_build_is_never_taken(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "model"
    first = start(folder, tmp_path / "notes", 600)
    assert first.stdout is not None
    assert first.stdout.readline() == "half\n"
    assert not is_complete(folder)
    assert not folder.exists()
    first.kill()
    first.wait()
    begin = time.monotonic()
    second = start(folder, tmp_path / "notes", 0)
    assert "first second" in second.communicate(timeout=120)[0]
    assert time.monotonic() - begin < 60  # the dead one's lock does not block
    assert (tmp_path / "notes").read_text() == "build\n" * 2
    assert files(tmp_path / "cache") == {"model/a", "model/deep/b", "model/manifest.json"}  # the left-over is gone


def build_a(draft: Path) -> None:
    (draft / "a").write_text("whole")


@pytest.mark.parametrize("damage", ["truncated", "file gone", "no manifest", "manifest cut"])
def test_what_is_damaged_is_made_anew(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = build_once(tmp_path / "x", build_a)
    if damage == "truncated":
        (folder / "a").write_text("who")
    elif damage == "file gone":
        (folder / "a").unlink()
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text('{"a": ')
    assert not is_complete(folder)
    assert (build_once(folder, build_a) / "a").read_text() == "whole"
    assert "made anew" in caplog.text
    assert is_complete(folder)


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(draft: Path) -> None:
        (draft / "a").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(tmp_path / "x", build)
    assert files(tmp_path) == set()
    assert (build_once(tmp_path / "x", build_a) / "a").read_text() == "whole"


def test_a_complete_folder_is_not_built_again(tmp_path: Path) -> None:
    build_once(tmp_path / "x", build_a)

    def build(draft: Path) -> None:
        raise AssertionError

    assert build_once(tmp_path / "x", build) == tmp_path / "x"


def test_others_may_read(tmp_path: Path) -> None:
    def build(draft: Path) -> None:
        build_a(draft)
        (draft / "a").chmod(0o600)

    folder = build_once(tmp_path / "x", build)
    assert (folder / "a").stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o755


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECT_SWEEPS_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("RECT_SWEEPS_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "rect-sweeps"
