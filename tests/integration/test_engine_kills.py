"""Kills: of the process that owns an engine, at any moment, and of the engine's own. Nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tasks.engines import EngineError
from tasks.engines.vllm_engine import VLLMEngine
from tests.tiny import SENTENCES, save_tiny

pytestmark = [pytest.mark.vllm]

REPOSITORY = Path(__file__).resolve().parents[2]
OWNER = textwrap.dedent(
    """
    import sys
    from tasks.engines.vllm_engine import VLLMEngine
    engine = VLLMEngine(sys.argv[1], max_model_len=256, kv_cache_gib=0.25, wait=False)
    print(engine.pid, flush=True)
    engine.start()
    print("generating", flush=True)
    while True:
        engine.load({})
        engine.generate([str(i) for i in range(200)], 200)
    """
)


def running(session: int) -> list[str]:
    """Commands of the processes in a session: the engine's child leads one, whatever it starts is in it."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((stat.parent / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def kill_owner(folder: Path, temporary: Path, moment: float | None) -> None:
    """Start a process with an engine, SIGKILL it after `moment` seconds (None: while it generates), look around."""
    temporary.mkdir()
    before = set(os.listdir("/dev/shm"))
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    if moment is None:
        assert owner.stdout.readline().strip() == "generating"
        moment = 1.0
    time.sleep(moment)
    assert running(child)
    owner.kill()
    owner.wait()
    end = time.monotonic() + 5
    while running(child) and time.monotonic() < end:
        time.sleep(0.1)
    assert running(child) == []
    assert list(temporary.iterdir()) == []
    assert set(os.listdir("/dev/shm")) <= before


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("gpt2", tmp_path_factory.mktemp("gpt2"))


def test_owner_killed_while_vllm_is_imported(gpt2: Path, tmp_path: Path) -> None:
    kill_owner(gpt2, tmp_path / "temporary", 4.0)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 18.0, None])
def test_owner_killed_at_any_moment(gpt2: Path, tmp_path: Path, moment: float | None) -> None:
    kill_owner(gpt2, tmp_path / "temporary", moment)


@pytest.mark.slow
def test_a_killed_engine_starts_again_with_the_base_weights(gpt2: Path) -> None:
    prompts = [*SENTENCES]
    with VLLMEngine(gpt2, max_model_len=256, kv_cache_gib=0.25) as engine:
        original = engine.generate(prompts, 8)
        name = "transformer.h.1.mlp.c_proj.weight"
        engine.load({name: engine.checkpoint.tensor(name) * 3})
        assert engine.generate(prompts, 8) != original
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="was killed by signal 9"):
            engine.generate(prompts, 8)
        engine.start()
        assert engine.generate(prompts, 8) == original
        engine.restore()
        pid = engine.pid
    assert pid is not None
    assert running(pid) == []


@pytest.mark.slow
def test_an_engine_that_cannot_start_says_why(gpt2: Path) -> None:
    with pytest.raises(EngineError, match=r"did not start: .*KV cache"):
        VLLMEngine(gpt2, max_model_len=256, kv_cache_gib=0.0001)
