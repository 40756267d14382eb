"""Messages between the engine's two processes: length-prefixed JSON over a socket. No pickles."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

LENGTH = struct.Struct(">Q")  # bytes that follow


class Channel:
    """One end of a connected pair of stream sockets; messages are JSON objects."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises OSError if the other side is gone."""
        body = json.dumps(message).encode()
        self._connection.sendall(LENGTH.pack(len(body)) + body)

    def receive(self) -> dict[str, Any] | None:
        """The next message, or None when the other side has closed or died. Raises TimeoutError after `timeout`."""
        header = self._exactly(LENGTH.size)
        body = header and self._exactly(LENGTH.unpack(header)[0])
        message: dict[str, Any] | None = json.loads(body) if body else None
        return message

    def timeout(self, seconds: float | None) -> None:
        """How long `receive` waits; None: forever."""
        self._connection.settimeout(seconds)

    def close(self) -> None:
        self._connection.close()

    def _exactly(self, size: int) -> bytes | None:
        """`size` bytes, or None at the end of the stream."""
        chunks = []
        while size:
            try:
                chunk = self._connection.recv(min(size, 1 << 20))
            except ConnectionError:
                return None
            if not chunk:
                return None
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)
