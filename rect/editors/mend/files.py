"""Where a trained hypernetwork lies, and what its file says of itself: known before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors

from modelfolder.errors import InputError, reason

FORMAT = "rect-mend/1"
FILE = "mend.safetensors"


def short_name(model: str) -> str:
    """The last part of a model's name, in lower case: "gpt2-xl"."""
    return model.rstrip("/").rsplit("/", 1)[-1].lower()


def default_folder(model: str) -> str:
    """Where training leaves a model's checkpoint if nothing else is said."""
    return f"results/mend/{short_name(model)}"


def find_here(name: str) -> Path | None:
    """The file of a checkpoint on this machine; None if the name can only be a hub id.

    Raises:
        InputError: it is a path, and nothing is there.
    """
    path = Path(name)
    if path.is_dir():
        path = path / FILE
    if path.is_file():
        return path
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or path.suffix or path.parent.is_dir():
        raise InputError(f"MEND checkpoint {name!r} is not there: {path} does not exist")
    return None


def find(name: str, revision: str | None = None) -> Path:
    """The file of a checkpoint: a path, a folder that holds `mend.safetensors`, or a hub id.

    Raises:
        InputError: it is not there.
    """
    path = find_here(name)
    if path is not None:
        return path
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(huggingface_hub.hf_hub_download(name, FILE, revision=revision))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(f"MEND checkpoint {name!r}: no such file, and not on the hub ({reason(error)})") from None


def read_header(path: Path) -> dict[str, Any]:
    """The header of a file, without its tensors.

    Raises:
        InputError: it is no MEND checkpoint.
    """
    try:
        with safetensors.safe_open(path, "np") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not a MEND checkpoint ({reason(error)})") from None
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: not a MEND checkpoint (its header does not say format {FORMAT!r})")
    return json.loads(metadata["header"])
