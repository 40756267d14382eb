"""The engine's own process as its parent sees it: start, talk, end, and what its log said if it died."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

from tasks.engines.base import EngineError
from tasks.engines.channel import Channel

PACKAGE = Path(__file__).resolve().parent.parent  # the folder of this distribution's `tasks`
LOG_LINES = 25  # shown in an error
SECONDS_TO_END = 2.0  # when asked politely, before it is killed


class EngineProcess:
    """A child process that runs a module of `tasks` and answers messages.

    The child ends with its parent, however that ends: the kernel kills it when the thread that started it is gone
    (tasks.engines.parent sets that up in the child). Hence a thread of its own starts the child and waits for it. Its
    log goes to a file without a name. It is in a session of its own, so that Ctrl-C in a terminal reaches the parent
    alone.

    Args:
        module: dotted name of the module that the child runs, given the parent's process id and a pipe's descriptor.
        environment: the child's whole environment, but for the module search path.
        temporary: a folder that goes away with the child.
    """

    def __init__(self, module: str, environment: dict[str, str], temporary: str | None = None) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.channel = Channel(ours)
        self._log = log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        outcome: list[subprocess.Popen[bytes] | OSError] = []
        command = [sys.executable, "-P", "-m", module, str(os.getpid()), str(theirs.fileno())]
        command += [] if temporary is None else [temporary]
        started = threading.Event()

        def start_and_wait() -> None:  # knows nothing of self, which may go away
            try:
                process = subprocess.Popen(
                    command,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment | _search_path(environment),
                    start_new_session=True,
                )
                outcome.append(process)
            except OSError as error:
                outcome.append(error)
                return
            finally:
                theirs.close()
                started.set()
            process.wait()

        threading.Thread(target=start_and_wait, name="engine process", daemon=True).start()
        started.wait()
        if isinstance(outcome[0], OSError):
            raise EngineError(f"the engine's process could not be started: {outcome[0]}")
        self._process = outcome[0]
        self._finalizer = weakref.finalize(self, _kill, self._process, temporary)  # also at the interpreter's exit

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and wait for the answer. See `answer`."""
        try:
            self.channel.send(message)
        except OSError:
            raise self._died() from None
        return self.answer()

    def answer(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for an answer.

        An interrupted wait (Ctrl-C, or the timeout in seconds) ends the process: its answer would be taken for that to
        the next message.

        Raises:
            EngineError: the process died, refused (its own error's text is in the message), or took too long.
        """
        try:
            reply = self.channel.receive(timeout)
        except TimeoutError:
            self.kill()
            raise EngineError(f"no answer from the engine within {timeout:.0f} s{self.log_tail()}") from None
        except BaseException:
            self.kill()
            raise
        if reply is None:
            raise self._died()
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply

    def close(self) -> None:
        """Ask the process to end; kill it if it does not."""
        self.channel.close()
        if self.alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(SECONDS_TO_END)
        self.kill()

    def kill(self) -> None:
        """End the process now."""
        self.channel.close()
        self._finalizer()

    def log_tail(self) -> str:
        """The last lines of the process's log as the end of an error message."""
        size = os.fstat(self._log.fileno()).st_size
        lines = os.pread(self._log.fileno(), 20_000, max(0, size - 20_000)).decode(errors="replace").splitlines()
        return "".join(["; the end of its log:", *(f"\n  {line}" for line in lines[-LOG_LINES:])]) if lines else ""

    def _died(self) -> EngineError:
        self.channel.close()
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return EngineError(f"the engine's process {self.pid} {how}{self.log_tail()}")


def _search_path(environment: dict[str, str]) -> dict[str, str]:
    """Module search path on which this distribution's packages come first and the working folder not at all."""
    rest = environment.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *([rest] if rest else [])]), "PYTHONSAFEPATH": "1"}


def _kill(process: subprocess.Popen[bytes], temporary: str | None) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
