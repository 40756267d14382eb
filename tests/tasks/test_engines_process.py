"""The engine's process: messages, death of the child, death of the parent. No vLLM here."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tasks.engines import EngineError
from tasks.engines.channel import Channel
from tasks.engines.process import EngineProcess
from tasks.engines.vllm_engine import memory_file

REPOSITORY = Path(__file__).resolve().parents[2]
CHILD = "tests.tasks.engine_child"


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process has ended (or is a zombie that nobody has waited for) within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def process() -> Iterator[EngineProcess]:
    child = EngineProcess(CHILD, dict(os.environ))
    yield child
    child.kill()


def test_messages_of_any_size_go_through(process: EngineProcess) -> None:
    for text in ("", 'ü "quoted" \n', "x" * 5_000_000):
        assert process.ask({"do": "echo", "text": text})["text"] == text


def test_a_refusal_is_an_error_and_the_child_goes_on(process: EngineProcess) -> None:
    with pytest.raises(EngineError, match=r"^no$"):
        process.ask({"do": "refuse"})
    assert process.ask({"do": "echo", "text": "a"})["text"] == "a"


@pytest.mark.parametrize(
    ("order", "message"),
    [("die", r"was killed by signal 9; the end of its log:\n  last words$"), ("exit", r"exit code 1.*\n  wrong turn$")],
)
def test_a_dead_child_is_an_error_with_its_last_words(process: EngineProcess, order: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        process.ask({"do": order})
    assert not process.alive
    with pytest.raises(EngineError, match=message):
        process.ask({"do": "echo", "text": "a"})


def test_no_answer_in_time_ends_the_child(process: EngineProcess) -> None:
    process.channel.send({"do": "sleep"})
    with pytest.raises(EngineError, match="no answer from the engine within 0 s"):
        process.answer(timeout=0.2)
    assert gone(process.pid)


def test_an_interrupted_wait_ends_the_child(process: EngineProcess) -> None:
    pid = process.pid
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        process.ask({"do": "sleep"})
    assert gone(pid)


def test_close_is_quick_and_forgetting_is_as_good(process: EngineProcess) -> None:
    process.ask({"do": "echo", "text": "a"})
    start = time.monotonic()
    process.close()
    assert not process.alive
    assert time.monotonic() - start < 5
    forgotten = EngineProcess(CHILD, dict(os.environ))
    pid = forgotten.ask({"do": "echo", "text": "a"})["pid"]
    del forgotten
    assert gone(pid)


def test_the_child_outlives_the_thread_that_asked_for_it() -> None:
    started: list[EngineProcess] = []
    thread = threading.Thread(target=lambda: started.append(EngineProcess(CHILD, dict(os.environ))))
    thread.start()
    thread.join()
    started[0].ask({"do": "echo", "text": "a"})
    time.sleep(0.5)
    assert started[0].ask({"do": "echo", "text": "a"})["text"] == "a"
    started[0].close()


PARENT = textwrap.dedent(
    """
    import os, time
    from tasks.engines.process import EngineProcess
    child = EngineProcess("tests.tasks.engine_child", dict(os.environ))
    print(child.pid, flush=True)
    {then}
    time.sleep(60)
    """
)


ANSWERED = "child.ask({'do': 'echo', 'text': 'a'}); print('ready', flush=True)"
WORKING = "child.ask({'do': 'echo', 'text': 'a'}); child.channel.send({'do': 'sleep'}); print('ready', flush=True)"


@pytest.mark.parametrize("then", ["", ANSWERED, WORKING], ids=["starting", "idle", "working"])
def test_the_child_dies_with_its_parent(then: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    if "ready" in then:
        parent.stdout.readline()
    parent.kill()
    parent.wait()
    assert gone(pid, 5)


def test_the_watch_alone_ends_the_child_too(tmp_path: Path) -> None:
    """Where the kernel knows no parent-death signal: by looking at the parent's id."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.platform = 'other'\n")  # the child sees another system
    code = PARENT.format(then=WORKING).replace("dict(os.environ)", f"{{**os.environ, 'PYTHONPATH': {str(tmp_path)!r}}}")
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.stdout.readline()
    parent.kill()
    parent.wait()
    assert gone(pid, 5)


def test_a_temporary_folder_goes_with_the_child(tmp_path: Path) -> None:
    folder = tmp_path / "by kill"
    folder.mkdir()
    (folder / "socket").touch()
    code = PARENT.format(then=WORKING).replace("dict(os.environ)", f"dict(os.environ), {str(folder)!r}")
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.stdout.readline()
    assert folder.exists()
    parent.kill()
    parent.wait()
    assert gone(pid, 5)
    assert not folder.exists()
    folder.mkdir()
    EngineProcess(CHILD, dict(os.environ), str(folder)).close()
    assert not folder.exists()


def test_a_stranger_named_tasks_in_the_working_folder_is_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('stranger')")
    monkeypatch.chdir(tmp_path)
    process = EngineProcess(CHILD, dict(os.environ) | {"PYTHONPATH": str(tmp_path)})
    assert process.ask({"do": "where"})["tasks"] == str(REPOSITORY / "tasks" / "__init__.py")
    process.close()


def test_a_memory_file_is_readable_by_others_and_leaves_nothing(process: EngineProcess) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    before = set(os.listdir("/dev/shm")) | set(os.listdir("/tmp"))
    with memory_file(tensors) as path:
        assert process.ask({"do": "read", "path": path})["bytes"] > 32
        assert set(os.listdir("/dev/shm")) | set(os.listdir("/tmp")) == before
        from safetensors.torch import load_file

        back = load_file(path)
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert not Path(path).exists()


@pytest.mark.parametrize("cut", [0, 3, 12])
def test_a_channel_ends_where_the_other_side_does(cut: int) -> None:
    ours, theirs = multiprocessing.Pipe()
    Channel(theirs).send({"a": [1, 2, 3]})
    body = os.read(ours.fileno(), 100)
    left, right = multiprocessing.Pipe()
    os.write(left.fileno(), body[:cut])
    left.close()
    assert Channel(right).receive() is None


def test_channel_keeps_messages_apart() -> None:
    ours, theirs = multiprocessing.Pipe()
    sender, receiver = Channel(ours), Channel(theirs)
    messages: list[dict[str, object]] = [{"a": 1}, {}, {"b": [[1, 2], []]}]
    for message in messages:
        sender.send(message)
    read: Callable[[], object] = receiver.receive
    assert [read() for _ in messages] == messages


class Bomb:
    """Its pickle touches a file where it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.file,))


def test_a_channel_reads_no_pickle(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.send(Bomb(tmp_path / "read"))
    with pytest.raises(ValueError, match="utf-8"):
        Channel(ours).receive()
    assert not (tmp_path / "read").exists()
    theirs.send(Bomb(tmp_path / "read"))
    ours.recv()
    assert (tmp_path / "read").exists(), "the bomb does not go off"


def test_a_channel_waits_as_long_as_it_is_told() -> None:
    ours, theirs = multiprocessing.Pipe()
    with pytest.raises(TimeoutError):
        Channel(ours).receive(0.05)
    Channel(theirs).send({"late": True})
    assert Channel(ours).receive(0.05) == {"late": True}
