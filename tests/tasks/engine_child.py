"""A child for tests of EngineProcess: answers, fails, writes to its log or dies as it is told."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.connection import Connection

from tasks.engines.channel import Channel
from tasks.engines.parent import end_with


def main() -> None:
    import tasks

    end_with(int(sys.argv[1]), *sys.argv[3:])
    channel = Channel(Connection(int(sys.argv[2])))
    while (message := channel.receive()) is not None:
        match message["do"]:
            case "echo":
                channel.send({"text": message["text"], "pid": os.getpid(), "parent": os.getppid()})
            case "where":
                channel.send({"tasks": tasks.__file__})
            case "read":
                with open(message["path"], "rb") as file:
                    channel.send({"bytes": len(file.read())})
            case "refuse":
                channel.send({"error": "no"})
            case "sleep":
                time.sleep(60)
            case "die":
                print("last words", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                sys.exit("wrong turn")


if __name__ == "__main__":
    main()
