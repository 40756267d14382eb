"""What Ray cannot do is refused in one line, before it is tried where that takes long, and nothing is left running."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from modelfolder.errors import InputError
from sweeps.commands import covariance, doctor, train_mend
from sweeps.config.training import TrainConfig
from sweeps.run import surroundings
from sweeps.run.driver import run
from tests.sweeps.small import small_config


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        ("", None),
        ("local", None),
        (" auto ", "auto"),
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        ("head.cluster.local:6379", "head.cluster.local:6379"),
        ("[::1]:6379", "[::1]:6379"),
    ],
)
def test_addresses_of_clusters(given: str | None, wanted: str | None) -> None:
    assert surroundings.cluster_address(given) == wanted


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("http://127.0.0.1:8265", "ray job submit"),
        ("https://ray.example.org", "ray job submit"),
        ("ray://127.0.0.1:10001", "Ray Client is not supported"),
        ("redis://127.0.0.1:6379", "HOST:PORT"),
        ("127.0.0.1", "HOST:PORT"),
        ("127.0.0.1:0", "HOST:PORT"),
        ("127.0.0.1:99999", "HOST:PORT"),
        ("127.0.0.1:port", "HOST:PORT"),
        (":6379", "HOST:PORT"),
        ("::1:6379", "HOST:PORT"),
    ],
)
def test_addresses_of_something_else_are_refused(given: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=advice) as raised:
        run(small_config(Path("model")), tmp_path, given)
    assert given in str(raised.value)
    assert "RAY_ADDRESS" in str(raised.value)
    assert not any(tmp_path.iterdir())


def test_an_address_where_nobody_answers_is_found_out_at_once() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, and nobody listens
        began = time.monotonic()
        with pytest.raises(InputError, match="nobody answers there"):
            surroundings.check_answers(f"127.0.0.1:{held.getsockname()[1]}")
        with pytest.raises(InputError, match="nobody answers there"):
            surroundings.check_answers("no-such-host.invalid:6379")
    assert time.monotonic() - began < 2 * surroundings.PATIENCE
    with socket.create_server(("127.0.0.1", 0)) as server:
        surroundings.check_answers(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_relative_path_is_refused_with_an_address_and_within_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    for path in ("/mnt/shared/x", "file:///mnt/x", "s3://bucket/x", "memory://x", "simplecache::s3://bucket/x", "~/x"):
        surroundings.check_shared_path("--out", path, "10.0.0.1:6379")
    relative = ("results/x", "./x", "x", "../x", "file://results/x")
    for path in relative:
        surroundings.check_shared_path("--out", path, None)
        with pytest.raises(InputError, match=f"--out {re.escape(path)}: with the Ray address auto .* absolute path"):
            surroundings.check_shared_path("--out", path, "auto")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    for path in relative:
        with pytest.raises(InputError, match="within a Ray job"):
            surroundings.check_shared_path("--out", path, None)


def test_every_command_that_starts_ray_looks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    with pytest.raises(InputError, match="--out results/x"):
        run(small_config(Path("model")), "results/x", "10.0.0.1:6379")
    training = TrainConfig.model_validate({"model": "no-such-model", "out": "x", "workers": 2})
    from rich.console import Console

    with pytest.raises(InputError, match="out: x: with the Ray address"):
        train_mend.train(training, Console(), address="10.0.0.1:6379")
    from rect.corpus import Corpus
    from rect.covariance import Recipe

    recipe = Recipe("no-such-model", Corpus("x.txt"), 10)
    with pytest.raises(InputError, match="ray job submit"):
        covariance.compute(recipe, Console(), (1,), 2, "http://10.0.0.1:8265")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(InputError, match="out: x: within a Ray job"):
        train_mend.train(training.model_copy(update={"workers": 1}), Console())
    assert not any(tmp_path.iterdir())


# The folder


def test_the_longest_folder_is_the_one_in_which_a_socket_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        length = surroundings.LONGEST - len(surroundings.SOCKET) - len("/ray/")
        fits = os.path.join(short, "d" * (length - len(short) - 1))
        for root, works in ((fits, True), (fits + "d", False)):
            path = Path(root, "ray", surroundings.SOCKET)
            path.parent.mkdir(parents=True)
            with socket.socket(socket.AF_UNIX) as one:  # the truth: the kernel's
                if works:
                    one.bind(str(path))
                else:
                    with pytest.raises(OSError, match="too long"):
                        one.bind(str(path))
            monkeypatch.setenv("RAY_TMPDIR", root)
            folder, reason = surroundings.ray_folder()
            assert (folder is None) == works
            assert ("1 bytes too long" in reason) == (not works)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "\u00e9" * 30)  # 60 bytes
    assert "too long" in surroundings.ray_folder()[1]


def test_a_folder_that_cannot_be_used_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for root, reason in (
        ("/proc", "/proc/ray"),
        ("x", "is not absolute"),
        ("/dev/null/x", "cannot be written"),
    ):
        monkeypatch.setenv("TMPDIR", root)
        folder, why = surroundings.ray_folder()
        assert folder is not None
        assert folder.startswith(("/tmp/ray", "/var/tmp/ray"))
        assert reason in why
    monkeypatch.setattr(surroundings, "SPACE", 2**70)
    with pytest.raises(InputError, match=r"no folder for its files: .*no space left.*RAY_TMPDIR"):
        surroundings.ray_folder()


# What Ray says


def test_what_ray_says_becomes_one_line_with_advice() -> None:
    def line(error: Exception, address: str | None = None) -> str:
        text = str(surroundings.refusal(error, address))
        assert "\n" not in text
        assert len(text) < 1000
        return text

    mismatch = RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.18\n")
    assert "Ray at auto cannot be joined: Version mismatch" in line(mismatch, "auto")
    assert "same Ray and Python" in line(mismatch, "auto")
    failed = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    failed.__cause__ = RuntimeError("authentication")
    assert "RAY_AUTH_MODE=token" in line(failed, "10.0.0.1:6379")
    assert "Ray does not start here: OSError" in line(OSError())
    assert "docker run --shm-size" in line(ValueError("exceeds /dev/shm size (0.06 GB)"))
    assert "sweeps doctor" in line(ValueError("x" * 5000))


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from sweeps.run import cluster
with cluster.connected({address!r}):
    import ray
    print("folder", ray._private.worker._global_node.temp_dir, flush=True)
"""


def ray_script(address: str | None, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parents[3])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(root=root, address=address)],
        capture_output=True, text=True, timeout=150, env={**kept, **environment},
    )  # fmt: skip


@pytest.mark.slow
def test_ray_starts_where_neither_the_temporary_folder_nor_home_will_do() -> None:
    done = ray_script(None, TMPDIR="/tmp/" + "d" * 90, HOME="/proc")
    assert done.returncode == 0, done.stderr
    assert "folder /tmp/ray" in done.stdout
    assert "Ray keeps its files in /tmp/ray" in done.stderr


@pytest.mark.slow
def test_a_ray_that_fails_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray has started its head by the time at which it finds that its sockets' names are too long."""
    from sweeps.run import cluster

    monkeypatch.setattr(surroundings, "ray_folder", lambda: ("/tmp/" + "d" * 90, "for this test"))
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with (
        pytest.raises(InputError, match=r"Ray does not start here: .*AF_UNIX.*set RAY_TMPDIR"),
        cluster.connected(None),
    ):
        pass
    psutil.wait_procs(left := [one for one in psutil.Process().children(recursive=True) if one.pid not in before], 5)
    assert not [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_the_doctor_names_an_address_that_is_a_dashboards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    [finding] = [one for one in doctor._ray() if one.what == "Ray"]
    assert finding.state == "wrong"
    assert "ray job submit" in finding.advice
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "d" * 90)
    [finding] = [one for one in doctor._ray() if one.what == "Ray"]
    assert finding.state == "note"
    assert "too long" in finding.advice
