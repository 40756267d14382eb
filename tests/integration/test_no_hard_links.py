"""The store on a real file system without hard links, a FUSE mount as buckets have them (`tests/linkless.py`)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from modelfolder.whole_files import TEMPORARY
from rect import cache
from sweeps.commands import upkeep
from sweeps.report import gather
from sweeps.store.store import Store
from tests import linkless
from tests.sweeps.small import computed, quiet, small_config, values
from tests.tiny import save_tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NAMES, WRITERS = 60, 3
RACE = """
import sys, time
from sweeps.store.folder import Folder
out, start, names = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
folder = Folder(out)
while time.time() < start:
    pass
won = [name for name in range(names) if folder.write_if_absent(f"put/{name}", sys.argv[4].encode() * 5000)]
print(*won)
"""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    folder, mountpoint = tmp_path / "folder", tmp_path / "mount"
    folder.mkdir()
    mountpoint.mkdir()
    try:
        mounting = linkless.mounted(mountpoint, folder)
        mounting.__enter__()
    except OSError as error:
        pytest.skip(f"a FUSE mount cannot be made here: {error}")
    try:
        (mountpoint / "file").touch()
        with pytest.raises(PermissionError):
            os.link(mountpoint / "file", mountpoint / "other")
        yield mountpoint
    finally:
        mounting.__exit__(None, None, None)


def test_what_processes_put_at_once_is_the_first_one_s(mount: Path) -> None:
    start = time.time() + 8.0
    command = [sys.executable, "-c", RACE, str(mount / "out"), str(start), str(NAMES)]
    writers = [
        subprocess.Popen([*command, letter], cwd=ROOT, stdout=subprocess.PIPE, text=True) for letter in "abc"[:WRITERS]
    ]
    won = [list(map(int, writer.communicate(timeout=120)[0].split())) for writer in writers]
    assert sorted(name for names in won for name in names) == list(range(NAMES))
    for letter, names in zip("abc", won, strict=True):
        assert all((mount / "out" / "put" / str(name)).read_bytes() == letter.encode() * 5000 for name in names)
    assert not list(mount.rglob(f"{TEMPORARY}*"))


def test_a_sweep_there_is_the_sweep_on_a_disk(mount: Path, tmp_path: Path) -> None:
    config = small_config(
        save_tiny("llama", tmp_path / "model"),
        settings=[{"kind": "instance-sequential", "edits": 2, "checkpoints": [1, 2]}],
        regularizers=["none"],
        tasks={"names": ["nli"], "examples": 2},
    )
    whole, there = quiet(config, tmp_path / "whole"), quiet(config, mount / "sweep")
    assert computed(there) == computed(whole)
    pd.testing.assert_series_equal(values(there), values(whole))
    there.folder.write("config.yaml", config.as_yaml().encode())
    assert upkeep.verify(there) == []
    assert Store(there.url)._rows.compact(least=2) > 2
    gather.report(there.url)
    pd.testing.assert_series_equal(values(Store(there.url)), values(whole))


def test_the_cache_is_filled_once_there(mount: Path) -> None:
    made = cache.build_once(mount / "cache" / "made", lambda draft: (draft / "part").write_text("all") and None)
    assert (made / "part").read_text() == "all"
    assert cache.is_complete(made)
    assert cache.build_once(made, lambda draft: pytest.fail("built twice")) == made
