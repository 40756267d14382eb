"""The store: whole files or none, each update once, each row once, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from modelfolder.errors import InputError
from modelfolder.whole_files import TEMPORARY
from rect.update import Dense, LowRank, Update, UpdateError
from sweeps.store import journal, schema
from sweeps.store.folder import Folder
from sweeps.store.store import Store, StoreError

AXES = {"model": "m", "method": "rome", "setting": "s", "batch_size": 1, "regularizer": "rect", "k": 40.0, "seed": 0}


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(tmp_path / "sweep")
    return Store(f"memory://{tmp_path.name}/sweep")


def update(seed: int) -> Update:
    generator = torch.Generator().manual_seed(seed)
    factors = LowRank(torch.randn(6, 2, generator=generator), torch.randn(2, 4, generator=generator))
    return Update({"a.weight": factors, "b.weight": Dense(torch.randn(3, 3, generator=generator))}, {"seed": seed})


def row(name: str = "nli/score", value: float = 0.5, evaluation: str = "e", cell: str = "c" * 32) -> dict[str, Any]:
    shared = {**AXES, "cell": cell, "n_edits": 2, "engine": "vllm", "package_version": "0"}
    return {**shared, **schema.measurement("task", name, value, n=8, evaluation=evaluation)}


def output(index: int) -> dict[str, Any]:
    text = {"task": "nli", "index": index, "prompt": "p", "output": "True", "gold": '"true"', "score": 1.0}
    return {"cell": "c" * 32, "n_edits": 2, "evaluation": "e", **text}


def test_updates_come_back_to_the_bit(store: Store) -> None:
    assert store.update("o") is None
    store.put_update("o", update(1))
    found = store.update("o")
    assert found is not None
    assert torch.equal(found["a.weight"].left, update(1)["a.weight"].left)
    assert torch.equal(found.dense("b.weight"), update(1).dense("b.weight"))
    assert found.provenance == {"seed": 1}


def test_the_first_update_of_an_operation_stays(store: Store) -> None:
    store.put_update("o", update(1))
    kept = store.put_update("o", update(2))
    assert kept.provenance == {"seed": 1}


def test_an_update_with_nan_is_not_kept(store: Store) -> None:
    with pytest.raises(UpdateError, match=r"a\.weight"):
        store.put_update("o", Update({"a.weight": Dense(torch.full((2, 2), float("nan")))}))
    assert store.update("o") is None


def test_writers_that_race_agree_on_one_winner(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def race(seed: int) -> int:
        start.wait()
        return Store(tmp_path).put_update("o", update(seed)).provenance["seed"]

    with ThreadPoolExecutor(8) as racers:
        winners = set(racers.map(race, range(8)))
    assert len(winners) == 1
    assert [path.name for path in (tmp_path / "updates").iterdir()] == ["o.safetensors"]


def test_rows_and_outputs_come_back_once(store: Store) -> None:
    store.write("c" * 32, 2, [row(), row("sentiment/score", 0.75)], [output(0), output(1)])
    store.write("c" * 32, 2, [row(), row("ner/score", 0.1)], [output(1), output(2)])
    assert sorted(store.rows()["name"]) == ["ner/score", "nli/score", "sentiment/score"]
    assert sorted(store.outputs()["index"]) == [0, 1, 2]
    assert list(store.rows().columns) == schema.ROWS.names
    assert list(store.outputs().columns) == schema.OUTPUTS.names


def test_an_empty_store_has_empty_tables(store: Store) -> None:
    assert store.rows().empty
    assert list(store.rows().columns) == schema.ROWS.names
    assert store.done() == set()
    assert store.failures() == {}


def test_done_is_what_has_rows(store: Store) -> None:
    store.write("c" * 32, 2, [row(evaluation="x"), row(evaluation="y")], [])
    store.write("d" * 32, 2, [row(evaluation="x", cell="d" * 32)], [])
    assert store.done() == {("c" * 32, 2, "x"), ("c" * 32, 2, "y"), ("d" * 32, 2, "x")}
    assert store.done("c" * 32) == {("c" * 32, 2, "x"), ("c" * 32, 2, "y")}


def test_outputs_are_written_before_the_rows_that_commit_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    write = Folder.write

    def full(self: Folder, name: str, data: bytes) -> None:
        if name.startswith("rows/"):
            raise OSError(28, "No space left on device")
        write(self, name, data)

    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(OSError, match="No space left"):
        store.write("c" * 32, 2, [row()], [output(0)])
    monkeypatch.undo()
    assert store.done() == set()
    assert len(store.outputs()) == 1


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("c" * 32, 2, [row()], [])
    part = next((tmp_path / "rows").iterdir())
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(StoreError, match=part.name):
        store.rows()


def test_failures_are_kept_until_forgotten(store: Store) -> None:
    store.fail("c", "UpdateError: NaN", "cell c")
    store.fail("c", "UpdateError: infinity")
    assert store.failures() == {"c": "UpdateError: infinity"}
    store.forget_failure("c")
    store.forget_failure("c")
    assert store.failures() == {}


def test_what_is_shared_is_the_first_writers(store: Store) -> None:
    assert store.shared("prefixes/p.json", b"1") == b"1"
    assert store.shared("prefixes/p.json", b"2") == b"1"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_killed_writer_left_is_ignored_and_cleaned(tmp_path: Path) -> None:
    code = f"""if True:
        import time
        from modelfolder import whole_files
        with whole_files.draft({str(tmp_path / "rows" / "part.parquet")!r}) as file:
            file.write_bytes(b"half")
            time.sleep(60)"""
    writer = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    wait_for(lambda: any(tmp_path.rglob(f"{TEMPORARY}*")))
    folder = Folder(tmp_path)
    assert folder.clean() == []  # its writer lives
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert folder.names("rows") == []
    assert Store(tmp_path).done() == set()
    assert len(folder.clean()) == 1
    assert not any(tmp_path.rglob(f"{TEMPORARY}*"))


def test_journal_gives_each_event_once(store: Store) -> None:
    log = journal.Journal(store.folder)
    reader = journal.Reader(store.folder)
    log.write("cell-started", cell="c")
    log.close()
    assert [event["event"] for event in reader.new()] == ["cell-started"]
    assert reader.new() == []
    log.write("cell-done", cell="c")
    log.close()
    assert [event["event"] for event in reader.new()] == ["cell-done"]
    assert [event["pid"] for event in journal.events(store.folder)] == [os.getpid()] * 2


def test_a_line_cut_by_a_kill_is_no_event(tmp_path: Path) -> None:
    store = Store(tmp_path)
    journal.Journal(store.folder).write("cell-started", cell="c")
    path = next((tmp_path / "log").iterdir())
    path.write_bytes(path.read_bytes() + b'{"event": "cell-d')
    assert [event["event"] for event in journal.events(store.folder)] == ["cell-started"]


def test_rows_of_an_earlier_format_are_refused_in_one_line(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    store.write("c" * 32, 2, [row()], [])
    assert len(Store(tmp_path / "new").rows()) == 1
    stamp = tmp_path / "new" / "store.json"
    for text, told in (
        (None, r"rows of an earlier version.*format 1, here 2.*choose another --out"),
        ('{"format": 3}', "format 3, this version reads 2"),
        ("[", "does not say the folder's format"),
    ):
        stamp.unlink() if text is None else stamp.write_text(text)
        with pytest.raises(InputError, match=told) as refusal:
            Store(tmp_path / "new")
        assert "\n" not in str(refusal.value)


def test_every_environment_is_kept_and_its_id_says_which(store: Store) -> None:
    late, early = (store.put_environment({"time": when, "host": "h"}) for when in ("2026-02", "2026-01"))
    assert store.put_environment({"time": "2026-02", "host": "h"}) == late
    assert list(store.environments()) == [early, late]
    assert store.environments()[late]["time"] == "2026-02"


def test_contents_are_those_of_the_last_run_that_saw_the_model(store: Store) -> None:
    assert store.contents() == {}
    store.put_contents({"a": "sha256:1", "b": "hub:2"})
    store.put_contents({"a": "sha256:3"})
    assert store.contents() == {"a": "sha256:3", "b": "hub:2"}
