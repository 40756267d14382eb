"""Methods that newer source of EasyEdit has, run from a checkout: skipped where EASYEDITOR_PATH names none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rect import editors, regularizers
from rect.editors import formulas
from rect.editors.easyeditor import environment
from rect.editors.easyeditor.editor import EasyEditor
from rect.editors.easyeditor.environment import EasyEditorError
from rect.editors.easyeditor.process import Worker
from rect.facts import Fact
from rect.history import History
from rect.model import EditableModel
from rect.update import LowRank, Update
from sweeps.commands import conform
from tests.tiny import save_tiny

pytestmark = [
    pytest.mark.easyeditor,
    pytest.mark.skipif(not os.environ.get("EASYEDITOR_PATH"), reason="EASYEDITOR_PATH names no checkout of EasyEdit"),
]

TEMPLATES = ["{}", "The first thing I did. {}", "Because of this. {}"]
FACTS = [
    Fact(subject="France", prompt="The capital of {} is", target="Rome", original="Paris"),
    Fact(subject="Albert Einstein", prompt="{} was born in", target="Paris", original="Ulm"),
]
BOTH: dict[str, Any] = {"layers": [0, 1], "v_num_grad_steps": 5}
ONE: dict[str, Any] = {"layers": [1], "v_num_grad_steps": 5}
SHARE: dict[str, Any] = {**BOTH, "nullspace_share": 60}
ALIKE = {  # ours, and theirs with the same values
    "alphaedit": {**SHARE, "L2": 1.0},
    "emmet": {**ONE, "mom2_update_weight": 20.0},
    "memit": {**BOTH, "mom2_update_weight": 2.0},
    "rome": ONE,
    "r-rome": {**ONE, "r_rome": "released"},
}


class Place:
    """A tiny model with a worker that its editors share: starting one takes half a minute."""

    def __init__(self, where: environment.Environment, folder: Path) -> None:
        self.model = EditableModel.load(str(folder), device="cpu")
        self.worker = Worker(where, self.model)

    def editor(self, name: str, hparams: dict[str, Any]) -> Any:
        layers = hparams.get("layers", ())
        made = editors.create(name, self.model, hparams, TEMPLATES, formulas.made_up(self.model, layers))
        return self.here(made)

    def here(self, made: Any) -> Any:
        if isinstance(made, EasyEditor):
            made._worker = self.worker
        return made


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def place(
    request: pytest.FixtureRequest, easyeditor: environment.Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    made = Place(easyeditor, save_tiny(request.param, tmp_path_factory.mktemp("model") / request.param))
    assert Path(made.worker.library).is_relative_to(os.environ["EASYEDITOR_PATH"])
    yield made
    made.worker.close()


@pytest.mark.parametrize("name", ALIKE)
def test_two_operations_are_ours(place: Place, name: str) -> None:
    """AlphaEdit's second one too, which depends on what is handed over of the first."""
    ours = place.editor(name, ALIKE[name])
    other, why = conform.beside(ours, place.model)
    assert other is not None, why
    found = list(conform.compare(ours, place.model, [[FACTS[0]], [FACTS[1]]], place.here(other)))
    assert [(one.what, one.operation) for one in found if one.what != "formula"] == [(other.name, 1), (other.name, 2)]
    for one in found:
        assert one.cosine > 0.9999
        assert one.apart < 5e-3


@pytest.mark.parametrize("name", ["easyeditor:AlphaEdit", "easyeditor:SPHERE"])
def test_a_history_counts_and_comes_back_from_stored_updates(place: Place, name: str, tmp_path: Path) -> None:
    """Of a second edit on the same weights: another one without the first one's keys, the same with the stored ones."""
    editor = place.editor(name, SHARE)
    first = editor.compute(place.model, FACTS[:1], History())
    forgotten = Update(first, memory={key: {"keys": 0 * first.memory[key]["keys"]} for key in first})
    first.save(tmp_path / "first")
    stored = Update.load(tmp_path / "first")
    with place.model.edited(first):
        again, same, other = (
            editor.compute(place.model, FACTS[1:], History().after(one)) for one in (first, stored, forgotten)
        )
    for key in again:
        assert bool((again.dense(key) == same.dense(key)).all())
        assert float((again.dense(key) - other.dense(key)).norm()) > 1e-3 * float(again.dense(key).norm())


def test_sphere_is_alphaedit_under_our_regularizer(place: Place) -> None:
    """EasyEdit projects when all layers are solved. (On GPT-2 it takes the rows as stored: another method.)"""
    plain, sphere = (place.editor(f"easyeditor:{name}", SHARE) for name in ("AlphaEdit", "SPHERE"))
    raw, kept = (one.compute(place.model, FACTS[:1], History()) for one in (plain, sphere))
    expected = regularizers.get("sphere")(raw, place.model, k=50)
    for key in kept:
        apart = float((kept.dense(key) - expected.dense(key)).norm() / expected.dense(key).norm())
        assert (apart < 1e-4) == (not place.model.architecture.transposed)


@pytest.mark.parametrize("name", ["CORE", "EAMET", "MEMIT-FE", "PMET", "ULTRAEDIT"])
def test_the_others_edit(place: Place, name: str) -> None:
    before = {key: p.detach().clone() for key, p in place.model.hf.named_parameters()}
    hparams = {"lr": 1e-4} if name == "ULTRAEDIT" else BOTH
    if name == "EAMET" and place.model.architecture.transposed:
        with pytest.raises(EasyEditorError, match=r"EAMET failed inside EasyEdit source .*eamet_main\.py"):
            place.editor("easyeditor:EAMET", BOTH).compute(place.model, FACTS)
        return
    update = place.editor(f"easyeditor:{name}", hparams).compute(place.model, FACTS)
    assert all(bool((before[key] == p).all()) for key, p in place.model.hf.named_parameters())
    assert len(update) == (1 if name == "ULTRAEDIT" else 2)
    assert all(isinstance(entry, LowRank) for entry in update.values())
    assert update.provenance["editor"]["easyeditor"].startswith("source ")
