"""Folders that are expensive to make: made once, whole or not at all, whoever else is at it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import filelock

from rect import places

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """Where converted models and statistics are kept: RECT_SWEEPS_CACHE, else ~/.cache/rect-sweeps."""
    return places.expanded(os.environ.get("RECT_SWEEPS_CACHE") or "~/.cache/rect-sweeps").absolute()


def check_cache(folder: Path) -> None:
    """Raises InputError where nothing can be written into a folder of the cache."""
    places.check_folder(f"cache {folder} (RECT_SWEEPS_CACHE says where it is)", folder)


def is_complete(folder: Path) -> bool:
    """Whether `build_once` finished this folder and all its files still have their sizes."""
    try:
        sizes = json.loads((folder / MANIFEST).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Have `folder` filled by `build`, unless it is complete already.

    `build` fills a temporary folder beside it, which is renamed when it is done: another process sees all of it or
    nothing. Processes that want the same folder at once wait for the first. What is half there or damaged is replaced.

    Returns:
        The folder.

    Raises:
        InputError: the cache cannot be written.
    """
    if is_complete(folder):
        return folder
    check_cache(folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.parent / f".{folder.name}.lock"):
        if is_complete(folder):
            return folder
        for left_over in folder.parent.glob(f".{folder.name}.part-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.part-"))
        try:
            draft.chmod(0o755)
            build(draft)
            for path in draft.rglob("*"):  # safetensors writes files that only their owner may read
                path.chmod(0o755 if path.is_dir() else 0o644)
            sizes = {str(p.relative_to(draft)): p.stat().st_size for p in sorted(draft.rglob("*")) if p.is_file()}
            (draft / MANIFEST).write_text(json.dumps(sizes, indent=1))
            if folder.exists():
                log.warning("%s is incomplete or damaged: it is made anew", folder)
                shutil.rmtree(folder)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder
