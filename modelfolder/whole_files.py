"""Files that are there whole or not at all, whoever is killed while one is written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp~"  # what the names of files that are being written begin with
STALE_AFTER = 24 * 3600.0  # seconds until another machine's is nobody's
LOCK_STALE = 30.0  # seconds until a lock that stays as it is is nobody's; it is held while one file is renamed
POLL = 0.02
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What file systems say that have no hard links: FAT, FUSE mounts of buckets."""
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


def name_if_absent(file: Path, path: str | os.PathLike[str]) -> None:
    """Give a whole file its name, of several writers to the first alone. The temporary name may stay.

    By a hard link; where the file system has none, by a rename while a lock file beside it is held.

    Raises:
        FileExistsError: there is a file of this name.
    """
    try:
        os.link(file, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with _locked(Path(path)):
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path)) from None
            os.replace(file, path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold `.tmp~lock~<name>` beside a file. One whose holder was killed is broken once it was seen long enough."""
    lock = path.with_name(f"{TEMPORARY}lock~{path.name}")
    seen, until = None, 0.0
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            pass
        try:
            found = lock.stat()
        except FileNotFoundError:
            continue
        if (found.st_ino, found.st_mtime_ns) != seen:
            seen, until = (found.st_ino, found.st_mtime_ns), time.monotonic() + LOCK_STALE
        elif time.monotonic() > until:
            lock.unlink(missing_ok=True)
        time.sleep(POLL)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


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
