"""In a child process: end when the parent ends, whatever ends it. Imported before anything slow."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time

SECONDS_BETWEEN_LOOKS = 0.5
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int, temporary: str | None = None) -> None:
    """Make the kernel kill this process when the thread that started it ends, and watch the parent besides.

    The watching thread covers systems without that facility, and parents whose thread has ended before the call.

    Args:
        parent: process id.
        temporary: a folder to remove then. The kernel would leave no time for that, so only the thread watches.
    """
    if sys.platform == "linux" and temporary is None:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before the kernel knew
        os._exit(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
