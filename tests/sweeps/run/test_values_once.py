"""`values: unedited`: each fact's vector is found once in a sweep, whatever is edited, regularized and killed."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from rect.editors.value_search.vectors import Vectors
from rect.model import EditableModel
from sweeps.commands import upkeep
from sweeps.config.config import validate
from sweeps.plan.identity import make_plan
from sweeps.run.cell import CellRun
from sweeps.run.workplace import Workplace
from sweeps.store import journal
from sweeps.store.journal import Journal
from sweeps.store.store import Store
from tests.sweeps.small import REMEMBERING, quiet, remembering, small_config, values
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def config(folder: Path) -> Any:
    methods = [remembering(name, folder, values="unedited") for name in REMEMBERING]
    sparing = remembering("alphaedit", folder, values="unedited", v_num_grad_steps=1)  # searches otherwise
    return small_config(
        folder,
        methods=[*methods, sparing | {"label": "other"}],
        settings=[{"kind": "batch-sequential", "edits": 3, "batch_sizes": [2], "checkpoints": [1, 3]}],
        regularizers=["none", {"name": "rect", "k": [20, 40]}],
        tasks={"names": ["nli"], "examples": 1},
    )


@pytest.fixture(scope="module")
def whole(config: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return quiet(config, tmp_path_factory.mktemp("whole"))


def found(store: Store) -> Counter[str]:
    return Counter(e["vectors"] for e in journal.events(store.folder) if e["event"] == "vectors-found")


def test_each_is_found_once_for_all_methods_and_regularizers(config: Any, whole: Store) -> None:
    """Three operations of two facts under two ways to search: six files, of 3 methods and 27 operations."""
    assert set(found(whole).values()) == {1}
    assert len(found(whole)) == 6 == len(whole.folder.names("vectors"))
    operations = {one.id for cell in make_plan(config).cells for one in make_plan(config).operations(cell, 3)}
    assert len(operations) == 3 * (1 + 2 * 3)


def test_they_are_those_of_the_unedited_model(config: Any, whole: Store, folder: Path) -> None:
    """Every update says how its search went: as from the unedited model, also after two operations."""
    plan = make_plan(config)
    model = EditableModel.load(str(folder), device="cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with Workplace(plan, whole, Journal(whole.folder), device="cpu") as place:
        place.model(plan.config.models[0])
        for cell in plan.cells:
            if cell.method is None or cell.regularizer == "none":
                continue
            editor: Any = place.editor(cell.method)
            third = list(plan.operations(cell, 3))[2]
            update = whole.update(third.id)
            assert update is not None
            wanted = [list(one.losses) for one in editor.values(model, third.facts)]
            assert update.provenance["losses"] == wanted
    torch.set_num_threads(threads)


def test_killed_and_continued_none_is_found_anew(config: Any, whole: Store, tmp_path: Path) -> None:
    store, plan = Store(tmp_path), make_plan(config)
    with Workplace(plan, store, Journal(store.folder), device="cpu") as place:
        for cell in plan.cells[:3]:
            if cell.method is not None:
                next(CellRun(place, cell, plan.missing(cell, store.done())).checkpoints())
    assert found(store)
    quiet(config, tmp_path)
    assert found(store) == found(whole)
    assert values(store).equals(values(whole))


def test_upkeep_sees_them(config: Any, whole: Store) -> None:
    whole.folder.write("config.yaml", config.as_yaml().encode())
    (line,) = [one for one in upkeep.inventory(whole) if one.kind == "vectors"]
    assert line.files == 6
    assert not upkeep.verify(whole)
    name = whole.folder.names("vectors")[0]
    good = whole.folder.read(name)
    try:
        whole.folder.write(name, good[:-7])
        (said,) = upkeep.verify(whole)
        assert said.startswith(f"{name}: these are no vectors (")
    finally:
        whole.folder.write(name, good)


def test_those_that_no_cell_asks_for_are_pruned(config: Any, whole: Store, tmp_path: Path) -> None:
    """One way to search of two, and the first operation of three: one file of six. Earlier versions' files stay."""
    shutil.copytree(whole.folder.root, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    for methods, edits, wanted in ((3, 3, 6), (2, 3, 3), (2, 1, 1)):
        asked = config.model_dump(mode="json")
        asked["methods"] = asked["methods"][:methods]
        asked["settings"][0] |= {"edits": edits, "checkpoints": [edits]}
        store.folder.write("config.yaml", validate(asked, "test").as_yaml().encode())
        (line,) = [one for one in upkeep.inventory(store) if one.kind == "vectors"]
        assert (line.files, line.unused) == (6, 6 - wanted)
    old = "vectors/0.safetensors"
    store.folder.write(old, Vectors(torch.zeros(1, 2), ((0.0,),)).to_bytes())
    gone = upkeep.prune(store, really=True)
    assert len([name for name in gone if name.startswith("vectors/")]) == 5
    assert len(store.folder.names("vectors")) == 2
    assert old in store.folder.names("vectors")


def test_a_file_gives_back_what_was_put() -> None:
    vectors = Vectors(torch.randn(2, 5), ((1.5, 0.25), (3.0,)))
    same = Vectors.from_bytes(vectors.to_bytes(), "here")
    assert torch.equal(same.z, vectors.z)
    assert same.losses == vectors.losses
