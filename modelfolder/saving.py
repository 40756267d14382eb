"""Saving a model into a folder that may hold another: afterwards there is one answer to what its weights are."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelfolder.errors import InputError

WEIGHTS = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?")


@contextlib.contextmanager
def draft(folder: Path) -> Iterator[Path]:
    """An empty folder to save into; at the end its files are in `folder`, and weights that were there are gone.

    Libraries overwrite a file of the same name and leave the rest: shards beside a single file, or an index of shards
    that are no longer the model's.

    Raises:
        InputError: the folder holds other safetensors, which readers would take for a part of the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if others := sorted(file.name for file in folder.glob("*.safetensors") if not WEIGHTS.fullmatch(file.name)):
        raise InputError(
            f"{folder} holds {others[0]}, which would be taken for a part of the model: name another folder"
        )
    place = Path(tempfile.mkdtemp(dir=folder, prefix=".draft-"))
    try:
        yield place
        for file in [file for file in folder.iterdir() if WEIGHTS.fullmatch(file.name)]:
            file.unlink()
        for file in sorted(place.iterdir()):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(place, ignore_errors=True)
