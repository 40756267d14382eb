"""`sweeps cache`: what is kept, what is broken, what is not used."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelfolder.errors import InputError
from modelfolder.whole_files import TEMPORARY
from sweeps.commands import cache, upkeep
from sweeps.store.store import Store
from tests.sweeps.small import small_config, sweep
from tests.tiny import save_tiny

SHORT = [{"kind": "instance-sequential", "edits": 1}]
LONG = [{"kind": "instance-sequential", "edits": 2}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> Store:
    """Two edits were run; the configuration that is left there asks for one."""
    levels = ["none", {"name": "rect", "k": [20]}]
    found = sweep(small_config(folder, settings=LONG, regularizers=levels, tasks={}), tmp_path)
    found.folder.write(
        "config.yaml", small_config(folder, settings=SHORT, regularizers=levels, tasks={}).as_yaml().encode()
    )
    return found


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cache.app, list(arguments))
    return result.exit_code, result.output


def test_list_tells_used_from_unused(store: Store) -> None:
    entries = {entry.kind: entry for entry in upkeep.inventory(store)}
    assert (entries["updates"].files, entries["updates"].unused) == (3, 2)  # the first is shared by both cells
    assert (entries["states"].files, entries["states"].unused) == (4, 2)
    assert entries["rows"].files == 3
    code, output = run("list", store.url)
    assert code == 0
    assert "raw updates of edit operations" in output


def test_prune_looks_first_and_removes_only_what_is_unused(store: Store) -> None:
    before = store.rows()
    code, output = run("prune", store.url)
    assert code == 0
    assert "4 files" in output
    assert "would be removed" in output
    assert len(store.folder.names("updates")) == 3
    code, output = run("prune", store.url, "--yes")
    assert "4 files" in output
    assert len(store.folder.names("updates")) == 1
    assert len(store.folder.names("states")) == 2
    assert len(store.rows()) == len(before)
    assert upkeep.prune(store, really=False) == {}


def test_verify_names_what_is_broken(store: Store) -> None:
    assert upkeep.verify(store) == []
    assert run("verify", store.url)[0] == 0
    [first, *_] = store.folder.names("updates")
    store.folder.write(first, store.folder.read(first)[:-8])
    store.folder.write("states/0.json", b"{")
    store.folder.write("rows/0.parquet", b"")
    abandoned = Path(store.folder.path("rows")) / f"{TEMPORARY}{socket.gethostname()}~999999999~x"
    abandoned.touch()
    lines = upkeep.verify(store)
    assert [line.partition(":")[0] for line in lines] == [
        first,
        "states/0.json",
        "rows/0.parquet",
        f"rows/{abandoned.name}",
    ]
    code, output = run("verify", store.url)
    assert code == 1
    assert "4 files are not as they should be" in output
    assert f"rows/{abandoned.name}" in upkeep.prune(store, really=True)
    assert not abandoned.exists()


def test_a_folder_without_a_sweep_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no sweep here"):
        upkeep.verify(Store(tmp_path))
