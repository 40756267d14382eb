"""A file is there whole or not at all; what is left of one that was not finished is known by its name."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from modelfolder import whole_files


def test_a_file_takes_the_place_of_an_older_one_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        whole_files.write(tmp_path / "new folder" / "file", content)
        assert (tmp_path / "new folder" / "file").read_bytes() == content
    assert os.listdir(tmp_path / "new folder") == ["file"]


def test_one_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    whole_files.write(tmp_path / "file", b"old")

    def interrupted() -> None:
        with whole_files.draft(tmp_path / "file") as draft:
            draft.write_bytes(b"half")
            assert not whole_files.is_orphan(draft)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_who_may_read_it_is_as_with_any_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        whole_files.write(tmp_path / "file", b"")
        (tmp_path / "other").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_temporary_file_is_nobodys_once_its_writer_is_gone(tmp_path: Path) -> None:
    def left(host: str, pid: int) -> Path:
        file = tmp_path / f"{whole_files.TEMPORARY}{host}~{pid}~x"
        file.touch()
        return file

    here, nobody = socket.gethostname(), 999_999_999
    files = [left(here, os.getpid()), left(here, 1), left(here, nobody), left("elsewhere", nobody), tmp_path / "gone"]
    assert [whole_files.is_orphan(file) for file in files] == [False, False, True, False, False]
    for file in files[:4]:
        os.utime(file, (0, 0))
    assert [whole_files.is_orphan(file) for file in files] == [True, True, True, True, False]


def first(folder: Path, content: bytes) -> bool:
    """Whether this writer's content got the name."""
    try:
        with whole_files.beside(folder / "file") as temporary:
            temporary.write_bytes(content)
            whole_files.name_if_absent(temporary, folder / "file")
    except FileExistsError:
        return False
    return True


@pytest.fixture(params=[None, *sorted(whole_files.NO_LINKS)], ids=lambda number: errno.errorcode.get(number, "links"))
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has hard links, and such as refuse them in their own way."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    if request.param is not None:
        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("links")
def test_of_many_writers_the_first_gives_a_file_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.replace

    def slowly(source: Path, target: Path) -> None:
        time.sleep(0.05)  # between the look and the rename others would look too
        rename(source, target)

    monkeypatch.setattr(os, "replace", slowly)
    told: dict[bytes, bool] = {}
    ready = threading.Barrier(8)

    def write(content: bytes) -> None:
        ready.wait()
        told[content] = first(tmp_path, content)

    writers = [threading.Thread(target=write, args=(bytes([65 + i]) * 1000,)) for i in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [content for content, mine in told.items() if mine] == [(tmp_path / "file").read_bytes()]
    assert not first(tmp_path, b"late")
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_link_fails_of_otherwise_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        first(tmp_path, b"")
    assert os.listdir(tmp_path) == []


def test_the_lock_of_a_killed_writer_is_broken_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(whole_files, "LOCK_STALE", 0.3)
    lock = tmp_path / f"{whole_files.TEMPORARY}lock~file"
    lock.touch()
    assert not whole_files.is_orphan(lock)  # `clean` leaves it alone: its holder may be elsewhere
    began = time.monotonic()
    assert first(tmp_path, b"content")
    assert time.monotonic() - began >= 0.3
    assert os.listdir(tmp_path) == ["file"]
