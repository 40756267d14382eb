"""Whole files or none, on any fsspec path: what is read was written to its end, whatever was killed meanwhile.

On a local disk, or a mount, a file is written under a temporary name that tells its writer, synced, and renamed (or
linked, `modelfolder.whole_files`). On an object store an object appears whole by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from modelfolder import whole_files
from modelfolder.whole_files import TEMPORARY
from rect import places

log = logging.getLogger(__name__)

Result = TypeVar("Result")

PATIENCE = 120.0  # seconds for which a store that cannot be reached is asked again


class StoreError(RuntimeError):
    """What the store holds contradicts what was computed, or cannot be read."""


class Folder:
    """A folder on a local disk or an object store.

    Args:
        url: a path, or anything that fsspec knows: "s3://bucket/sweep", "memory://sweep".

    Raises:
        InputError: a path at which no folder can be, or that cannot be read.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.fs: Any
        self.fs, root = fsspec.core.url_to_fs(os.fspath(url))
        self.root = root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)
        self.url = self.root if self.local else os.fspath(url)  # absolute: another process may be elsewhere
        if self.local:
            places.check_readable(os.fspath(url), self.root)

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Folder, (self.url,))

    def _patiently(self, call: Callable[[], Result]) -> Result:
        """What a call returns; where a store elsewhere cannot be reached it is asked again, for `PATIENCE` seconds."""
        wait, deadline = 0.5, time.monotonic() + PATIENCE
        while True:
            try:
                return call()
            except (FileNotFoundError, FileExistsError, PermissionError):
                raise
            except Exception as error:
                if self.local or not _unreachable(error) or time.monotonic() + wait > deadline:
                    raise
                log.warning("%s cannot be reached (%s); trying again in %.1f s", self.url, error, wait)
            time.sleep(wait)
            wait = min(2 * wait, 10.0)

    def check_writable(self, what: str) -> None:
        """Raises InputError where nothing can be written; `what` names the folder. An object store says so itself."""
        if self.local:
            places.check_folder(what, self.root)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is no such file."""
        return self._patiently(lambda: self.fs.cat_file(self.path(name)))

    def read_from(self, name: str, start: int) -> bytes:
        """What the file holds from a byte on; nothing where there is no more, or no such file."""

        def rest() -> bytes:
            path = self.path(name)
            return self.fs.cat_file(path, start=start) if start < self.fs.size(path) else b""

        try:
            return self._patiently(rest)
        except FileNotFoundError:
            return b""

    def read_or_none(self, name: str) -> bytes | None:
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def open(self, name: str) -> Any:
        """A file to be read in pieces. Raises FileNotFoundError where there is no such file."""
        file = self._patiently(lambda: self.fs.open(self.path(name), "rb"))
        return file if self.local else _Patient(file, self._patiently)

    def exists(self, name: str) -> bool:
        return self._patiently(lambda: self.fs.exists(self.path(name)))

    def write(self, name: str, data: bytes) -> None:
        """Write whole; an older file of this name is replaced."""
        if self.local:
            whole_files.write(self.path(name), data)
        else:
            self._patiently(lambda: self.fs.pipe_file(self.path(name), data))

    def write_if_absent(self, name: str, data: bytes) -> bool:
        """Write whole unless there is a file of this name already. Returns whether this call wrote it."""
        if self.exists(name):
            return False
        try:
            if not self.local:
                self._patiently(lambda: self.fs.pipe_file(self.path(name), data, mode="create"))
                return True
            with whole_files.beside(self.path(name)) as temporary:
                temporary.write_bytes(data)
                whole_files.sync(temporary)
                whole_files.name_if_absent(temporary, self.path(name))
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self.fs.rm_file(self.path(name)))

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """Names of the files in a sub-folder, sorted; temporary ones are left out."""
        names = sorted(path.rsplit("/", 1)[-1] for path in self._listed(folder, detail=False))
        return [f"{folder}/{name}" for name in names if name.endswith(suffix) and not name.startswith(TEMPORARY)]

    def sizes(self, folder: str, suffix: str = "") -> dict[str, int]:
        """Bytes of the files that `names` gives, sorted by name."""
        found = {info["name"].rsplit("/", 1)[-1]: int(info["size"]) for info in self._listed(folder, detail=True)}
        wanted = sorted(name for name in found if name.endswith(suffix) and not name.startswith(TEMPORARY))
        return {f"{folder}/{name}": found[name] for name in wanted}

    def _listed(self, folder: str, detail: bool) -> list[Any]:
        """What fsspec says of the files in a sub-folder: paths, or with `detail` all that it knows of each."""
        self.fs.invalidate_cache()
        try:
            return self._patiently(lambda: self.fs.ls(self.path(folder), detail=detail))
        except FileNotFoundError:
            return []

    def orphans(self) -> list[str]:
        """Paths of temporary files whose writer is gone (killed)."""
        paths = Path(self.root).rglob(f"{TEMPORARY}*") if self.local else ()
        return [str(path) for path in paths if whole_files.is_orphan(path)]

    def clean(self) -> list[str]:
        """Remove temporary files whose writer is gone. Returns what was removed."""
        removed = self.orphans()
        for path in removed:
            Path(path).unlink(missing_ok=True)
        return removed


class _Patient:
    """A file elsewhere that is read in pieces, each of which is asked for again where the store cannot be reached."""

    def __init__(self, file: Any, patiently: Callable[[Callable[[], bytes]], bytes]) -> None:
        self._file, self._patiently = file, patiently

    def read(self, size: int = -1) -> bytes:
        return self._patiently(lambda: bytes(self._file.read(size)))  # one that fails has not moved on

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Patient:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()


def _unreachable(error: Exception) -> bool:
    """Whether an error is the network's or the store's, and may pass: OSError, or one of its client's own."""
    client = type(error).__module__.partition(".")[0] in ("aiohttp", "aiobotocore", "botocore", "requests", "urllib3")
    return isinstance(error, OSError) or client
