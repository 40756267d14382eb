"""What Ray needs of its surroundings, looked at before it is asked: an address, a folder for its sockets, a token.

What `ray.init` cannot do it says late, in a traceback, or not at all: an address where nobody answers takes it minutes.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from modelfolder.errors import InputError
from rect import places
from sweeps.run import interrupts

LONGEST = 103 if sys.platform == "darwin" else 107
"""Bytes of a Unix socket's path: unix(7), `sun_path` without its final NUL."""

SOCKET = "session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path that Ray (2.60) makes a socket at below its folder; its last number is a process id."""

SPACE = 64 * 2**20  # bytes for Ray's logs and sessions
PATIENCE = 10.0  # seconds in which a cluster's port must answer

OWN = "leave --address out (and RAY_ADDRESS unset) for a Ray of this command's own"
ADVICE = (  # a part of what Ray says, and what to do then
    ("Version mismatch", "the cluster and this environment must have the same Ray and Python"),
    ("uthenticat", "set RAY_AUTH_MODE=token here and on all nodes, with the cluster's token in ~/.ray/auth_token"),
    ("Could not find any running Ray", f"start one with 'ray start --head', name HOST:PORT, or {OWN}"),
    ("Failed to connect", f"is its head running, and is this the port of 'ray start --port', 6379 as a rule? Or {OWN}"),
    ("/dev/shm", "give the machine more shared memory: docker run --shm-size=8g"),
    ("No space left", "free space there, or set RAY_TMPDIR to a short path on another disk"),
    ("AF_UNIX", "set RAY_TMPDIR to a short path, such as /tmp"),
    ("timed out during startup", "the machine may be too busy, or short of memory: try again, or see Ray's own logs"),
    ("IP address", "run this on a node of the cluster, or submit it: ray job submit"),
)


def cluster_address(address: str | None) -> str | None:
    """The address of a cluster to join, None for a Ray of one's own.

    Args:
        address: as `--address` or RAY_ADDRESS say it: "HOST:PORT", "auto", "local", nothing.

    Raises:
        InputError: it is an address of something else.
    """
    if not address or address.strip() in ("", "local"):
        return None
    address = address.strip()
    said = f"Ray address {address} (--address or RAY_ADDRESS)"
    scheme, separator, _ = address.partition("://")
    if separator and scheme in ("http", "https"):
        raise InputError(
            f"{said}: that is a dashboard, to which 'ray job submit' gives a job; to join a "
            f"cluster give its own HOST:PORT, such as 10.0.0.1:6379, or auto on one of its nodes; or {OWN}"
        )
    if separator and scheme == "ray":
        raise InputError(
            f"{said}: Ray Client is not supported; run this on a node of the cluster with --address auto, or submit "
            "it: ray job submit"
        )
    if address != "auto":
        _host_and_port(address, said)
    return address


def _host_and_port(address: str, said: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>\d{1,5})", address)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise InputError(f"{said}: HOST:PORT, such as 10.0.0.1:6379, or auto is wanted; or {OWN}")
    return found["six"] or found["host"], int(found["port"])


def check_answers(address: str) -> None:
    """Raises InputError where nobody listens at HOST:PORT: Ray itself would try for minutes. "auto" is left to it."""
    if address == "auto":
        return
    said = f"Ray address {address} (--address or RAY_ADDRESS)"
    try:
        socket.create_connection(_host_and_port(address, said), timeout=PATIENCE).close()
    except OSError as error:
        raise InputError(
            f"{said}: nobody answers there ({error.strerror or error}); is its head running, and is this the port of "
            f"'ray start --port'? Or {OWN}"
        ) from None


def check_shared_path(option: str, path: str, address: str | None) -> None:
    """A relative path would be in the job's own folder on one node, which is removed with it.

    Args:
        option: what names it, such as "--out".
        path: of results; a path or any fsspec URL.
        address: what `cluster_address` returns.

    Raises:
        InputError: it is relative, and a cluster is joined or this is a job of one.
    """
    scheme, separator, rest = path.rpartition("://")
    if separator and scheme not in ("file", "local"):
        return
    if os.path.isabs(rest) or rest.startswith("~"):
        return
    if address is None and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:  # Ray sets it for what a job starts
        return
    where = f"with the Ray address {address}" if address else "within a Ray job"
    raise InputError(
        f"{option} {path}: {where} a relative path is in the job's own folder, which nobody else sees; name an "
        "absolute path that all nodes share, or an object store such as s3://bucket/sweep"
    )


def ray_folder() -> tuple[str | None, str]:
    """A folder for Ray's files in place of the one that it would take, and why; (None, "") where that one will do.

    Raises:
        InputError: there is none that will do.
    """
    root = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))  # Ray's own rule
    wanted = os.path.join(root, "ray")
    reason = _unfit(wanted)
    if reason is None:
        return None, ""
    user = f"ray-{os.getuid()}"
    others = [folder for folder in ("/tmp/ray", f"/tmp/{user}", f"/var/tmp/{user}") if folder != wanted]
    for folder in others:
        if _unfit(folder) is None:
            return folder, f"{wanted} {reason}"
    reasons = "; ".join(f"{folder} {_unfit(folder)}" for folder in (wanted, *others))
    raise InputError(f"Ray has no folder for its files: {reasons}; set RAY_TMPDIR to a short path of a disk with space")


def _unfit(folder: str) -> str | None:
    """Why Ray cannot keep its files in a folder; None where it can."""
    if not os.path.isabs(folder):
        return "is not absolute"
    size = len(os.fsencode(os.path.join(folder, SOCKET)))
    if size > LONGEST:
        return f"is {size - LONGEST} bytes too long for the paths of Ray's sockets"
    there = Path(folder)
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return "cannot be written"
    if shutil.disk_usage(there).free < SPACE:
        return "has no space left"
    return None


def set_where_unset(**values: str) -> AbstractContextManager[None]:
    """Environment variables for a while; those that somebody has set stay as they are."""
    return interrupts.environment({name: value for name, value in values.items() if name not in os.environ})


def token_in_memory() -> dict[str, str]:
    """A token for a Ray of one's own where the home folder cannot keep the one that Ray would write; else nothing."""
    home = places.expanded("~/.ray").absolute()
    if (home / "auth_token").exists() or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return {}
    probe = (home if home.exists() else home.parent) / f".{secrets.token_hex(8)}"
    try:  # a mode says too little: of /proc, of mounts that only can be read
        probe.touch()
        probe.unlink()
    except OSError:
        return {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {}


def refusal(error: Exception, address: str | None) -> InputError:
    """What Ray said when it could not start or join, in one line with advice.

    Args:
        error: of `ray.init`.
        address: of the cluster; None for a Ray of one's own.
    """
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and isinstance(cause, Exception):
        chain.append(cause)
    text = " ".join(str(error).split()) or type(error).__name__
    everything = " ".join(map(str, chain))
    advice = next((what for part, what in ADVICE if part in everything), "sweeps doctor looks at this machine")
    which = f"Ray at {address} cannot be joined" if address else "Ray does not start here"
    return InputError(f"{which}: {text[:500].rstrip('. ')}; {advice}")
