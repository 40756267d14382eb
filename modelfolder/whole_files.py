"""Files that are there whole or not at all, whoever is killed while one is written."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp~"  # what the names of files that are being written begin with
STALE_AFTER = 24 * 3600.0  # seconds until another machine's is nobody's
_WRITER = re.compile(re.escape(TEMPORARY) + r"(?P<host>.*)~(?P<pid>\d+)~")


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, in place of an older one; its folder is made where there is none."""
    with draft(path) as file:
        file.write_bytes(data)


@contextlib.contextmanager
def draft(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name to write a file under, which takes its place at the end; of one that fails nothing stays."""
    with beside(path) as file:
        yield file
        sync(file)
        os.replace(file, path)


@contextlib.contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name in the folder of a file, which tells its writer; what bears it at the end is removed."""
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{TEMPORARY}{socket.gethostname()}~{os.getpid()}~{uuid.uuid4().hex[:12]}"
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def sync(file: Path) -> None:
    """Have a file's content on the disk before another name is given to it."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def is_orphan(path: Path) -> bool:
    """Whether the writer of a temporary file is gone (killed)."""
    import psutil

    writer = _WRITER.match(path.name)
    try:
        old = time.time() - path.stat().st_mtime > STALE_AFTER
    except FileNotFoundError:
        return False
    if writer is None or writer["host"] != socket.gethostname():
        return old
    return old or not psutil.pid_exists(int(writer["pid"]))
