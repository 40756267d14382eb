"""A file is there whole or not at all; what is left of one that was not finished is known by its name."""

from __future__ import annotations

import os
import socket
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
