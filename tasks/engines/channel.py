"""Messages between the engine's two processes: JSON over a pipe both ways. The pipe's own pickles are not used."""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any


class Channel:
    """One end of `multiprocessing.Pipe()`; messages are JSON objects."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises OSError if the other side is gone."""
        self._connection.send_bytes(json.dumps(message).encode())

    def receive(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next message, or None when the other side has closed or died.

        Raises TimeoutError where none begins within `timeout` seconds; None: wait forever.
        """
        try:
            body = self._connection.recv_bytes() if self._connection.poll(timeout) else None
        except (EOFError, OSError):
            return None
        if body is None:
            raise TimeoutError
        message: dict[str, Any] = json.loads(body)
        return message

    def close(self) -> None:
        self._connection.close()
