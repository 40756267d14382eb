"""Folders and files that are to be read or written, looked at before anything is computed for them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from modelfolder.errors import InputError

ROOM = 128  # bytes that names of files below a folder may take
BLOCK = bytes(4096)  # what is written to find out whether there is space


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ~ replaced, as far as it is known whose home that is."""
    return Path(os.path.expanduser(path))  # pathlib raises where no home is known


def check_folder(what: str, folder: str | os.PathLike[str]) -> None:
    """Find out whether a folder, there or new, can be written into. Leaves nothing behind.

    Args:
        what: wants it, such as "--out results/x"; the line begins with it.
        folder: of this machine.

    Raises:
        InputError: it lies under a file or is one, its name is too long, or nothing can be written there.
    """
    there, reason = _nearest(folder)
    if reason is None:
        try:
            with tempfile.TemporaryFile(dir=there) as probe:
                probe.write(BLOCK)
        except OSError as error:
            reason = f"{there} cannot be written ({error.strerror or error})"
    if reason is not None:
        raise InputError(f"{what}: {reason}; name a folder that can be written")


def check_file(what: str, file: str | os.PathLike[str]) -> None:
    """As `check_folder`, of a file that is to be written whole."""
    path = Path(file)
    if os.path.isdir(path):  # that of pathlib raises where a name is too long
        raise InputError(f"{what}: is a folder; name a file in it")
    check_folder(what, path.parent)
    reason = _name(path)
    if reason is None and path.exists():
        try:
            path.open("ab").close()
        except OSError as error:
            reason = f"cannot be written ({error.strerror or error})"
    if reason is not None:
        raise InputError(f"{what}: {reason}; name another file")


def check_readable(what: str, folder: str | os.PathLike[str]) -> None:
    """Find out whether a folder, if there is one of this name, can be read.

    Raises:
        InputError: it cannot, or it lies under a file or is one, or its name is too long.
    """
    there, reason = _nearest(folder)
    if reason is None and not os.access(there, os.R_OK | os.X_OK):
        reason = f"{there} cannot be read (Permission denied)"
    if reason is not None:
        raise InputError(f"{what}: {reason}; a folder is wanted")


def _nearest(folder: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """What is there of a path, its deepest part, and why no folder can be there; None where one is or can be."""
    path = Path(os.path.abspath(folder))  # links stay as they are
    reason = _name(path)
    if reason is not None:
        return path, reason
    there = path
    while not os.path.lexists(there):
        there = there.parent
    if os.path.isdir(there):
        return there, None
    kind = "a link to what is not there" if there.is_symlink() and not there.exists() else "a file"
    return there, f"is {kind}" if there == path else f"{there} is {kind}"


def _name(path: Path) -> str | None:
    """Why a name can be none of a file or folder; None where it can."""
    try:
        parts = [os.fsencode(part) for part in path.parts]
    except UnicodeEncodeError:
        return "the name is not valid Unicode"
    if any(b"\0" in part for part in parts):
        return "the name holds a NUL"
    longest = max(map(len, parts), default=0)
    if longest > os.pathconf("/", "PC_NAME_MAX"):
        return f"a name of {longest} bytes is too long"
    if (whole := len(os.fsencode(path)) + ROOM) > os.pathconf("/", "PC_PATH_MAX"):
        return f"a path of {whole - ROOM} bytes is too long"
    return None
