"""What happened, when, in which process: `log/<process>.jsonl`, one line per event, appended, never rewritten.

Progress and `sweeps status` read it, and whoever wants to know whether anything was computed twice. Rows do not depend
on it. Events:

    cell-started cell-done cell-failed      cell, (reason)
    edit-wanted edit-started edit-computed edit-loaded  cell, operation, n_edits, (seconds); wanted: it waits its turn
    stage                                   cell, n_edits, stage: what the process is about to do
    rows-written                            cell, n_edits, evaluations, rows
    task-failed                             cell, n_edits, task, reason
    engine-started engine-closed            name, seconds
    covariance-computed                     layers, seconds
    memory-left                             device, bytes: still in use after its model was closed
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from sweeps.store.folder import Folder

EVERY = 10.0  # seconds between two writes to an object store, which cannot append


class Journal:
    """The log of a process. Locally an event is on disk when `write` returns; elsewhere within `EVERY` seconds."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.name = f"log/{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}.jsonl"
        self._lines: list[str] = []
        self._written = 0.0

    def write(self, event: str, **details: Any) -> None:
        line = json.dumps({"time": round(time.time(), 3), "pid": os.getpid(), "event": event, **details}) + "\n"
        if self._folder.local:
            path = Path(self._folder.path(self.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line)
            return
        self._lines.append(line)
        if time.monotonic() - self._written > EVERY:
            self.close()

    def close(self) -> None:
        if self._lines:
            self._folder.write(self.name, "".join(self._lines).encode())
            self._written = time.monotonic()


class Reader:
    """The events of all processes; each call of `new` gives those that were added since the last."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}  # bytes of each log that were read

    def new(self) -> list[dict[str, Any]]:
        """Per process in order. A line that is not finished yet (or was cut by a kill) is left for later."""
        found = []
        for name in self._folder.names("log", ".jsonl"):
            start = self._read.get(name, 0)
            data = self._folder.read_from(name, start)
            whole = data[: data.rfind(b"\n") + 1]
            self._read[name] = start + len(whole)
            for line in whole.decode("utf-8", errors="replace").splitlines():
                process = name.removeprefix("log/").removesuffix(".jsonl")
                found.append({**json.loads(line), "process": process})
        return found


def events(folder: Folder) -> list[dict[str, Any]]:
    """All events of all processes, in the order of their time."""
    return sorted(Reader(folder).new(), key=lambda event: event["time"])
