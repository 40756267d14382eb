"""The content of a model folder as one digest: what is computed from other content is not computed from this one.

A folder of the hub's cache is named by its commit, and files there never change. Any other folder is read: config,
tokenizer, code and weights, each file once, kept by its path, size and time of change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from pathlib import Path

from modelfolder import tensors, whole_files
from modelfolder.errors import InputError, reason

SMALL = (".json", ".txt", ".model", ".jinja", ".py")  # config, tokenizer, chat template, code
MADE_HERE = ("manifest.json",)  # of `rect.cache`
SETTLED = 2.0  # seconds after which a file that is written again has another time of change, on any file system

Signature = tuple[tuple[str, int, int, int, int], ...]


def content(folder: Path, kept: Path | None = None) -> str:
    """What a folder holds: "hub:COMMIT" in the hub's cache, else "sha256:..." over names and bytes of its files.

    Args:
        folder: of a model.
        kept: where digests of files lie; None reads them all.

    Raises:
        InputError: it is no model folder, or a file cannot be read.
    """
    if commit := _commit(folder):
        return f"hub:{commit}"
    total = hashlib.sha256()
    for file in _files(folder):
        total.update(f"{file.name} {of_file(file, kept)}\n".encode())
    return f"sha256:{total.hexdigest()}"


def signature(folder: Path) -> Signature:
    """What changes when a file of a folder is written again: known without reading it."""
    return tuple((file.name, *_stat(file)) for file in _files(folder))


def commit(content: str | None) -> str | None:
    """The commit that a content names, if it is one of the hub's."""
    return content.removeprefix("hub:") if content and content.startswith("hub:") else None


def _commit(folder: Path) -> str | None:
    real = folder.absolute()
    inside = real.parent.name == "snapshots" and real.parent.parent.name.startswith("models--")
    return real.name if inside and re.fullmatch(r"[0-9a-f]{40}", real.name) else None


def _files(folder: Path) -> list[Path]:
    small = [path for path in folder.iterdir() if path.suffix in SMALL and path.name not in MADE_HERE]
    return sorted({*(path for path in small if path.is_file()), *tensors.files(folder)})


def _stat(file: Path) -> tuple[int, int, int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def of_file(file: Path, kept: Path | None = None) -> str:
    """SHA-256 of a file, in hexadecimal.

    Args:
        file: which.
        kept: where digests of files lie; None reads it.

    Raises:
        InputError: it cannot be read, or changes meanwhile.
    """
    name = hashlib.sha256(str(file.absolute()).encode()).hexdigest()
    note = None if kept is None else kept / f"{name}.json"
    try:
        before = _stat(file)
        found = _noted(note, before)
        if found is None:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if _stat(file) != before:
                raise InputError(f"{file} changes while it is read: wait until it is written")
            if time.time() - max(before[1], before[2]) / 1e9 > SETTLED:
                _keep(note, file, before, found)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({reason(error)})") from None
    return found


def _noted(note: Path | None, stat: tuple[int, int, int, int]) -> str | None:
    if note is None:
        return None
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        return str(found["sha256"]) if tuple(found["stat"]) == stat else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(note: Path | None, file: Path, stat: tuple[int, int, int, int], sha256: str) -> None:
    """Leave a note; where none can be left the file is read again next time."""
    if note is None:
        return
    with contextlib.suppress(OSError):
        text = json.dumps({"file": str(file.absolute()), "stat": stat, "sha256": sha256})
        whole_files.write(note, text.encode())
