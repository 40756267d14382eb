"""Every editor on a model that lies on another device (`tests/pretended.py`), against itself on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rect import covariance, editors
from rect.corpus import Corpus
from rect.editors.base import Editor
from rect.editors.easyeditor.difference import difference
from rect.editors.easyeditor.environment import PREFIX
from rect.editors.memit import Memit
from rect.editors.mend.editor import Mend, MendHparams
from rect.editors.mend.settings import MendSettings
from rect.editors.mend.training import Trainer
from rect.editors.value_search import search
from rect.editors.value_search.vectors import Vectors
from rect.history import History
from rect.key_covariance import Covariance
from rect.model import EditableModel
from rect.recipe import Recipe
from rect.update import Update
from tests.pretended import DEVICE
from tests.rect.editors.mend_facts import facts
from tests.tiny import FAMILIES as EVERY_FAMILY
from tests.tiny import SENTENCES, tiny_model

FAMILIES = ["gpt2", "llama"]  # weights stored (in, out) and (out, in); gelu and a gate
TEMPLATES = ["{}", "The answer is. {}", "True. {}"]
SPREAD: dict[str, Any] = {"layers": [0, 1], "v_num_grad_steps": 4}
ONE: dict[str, Any] = {"layers": [1], "v_num_grad_steps": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "alphaedit": {**SPREAD, "L2": 1.0, "nullspace_share": 60},
    "betaedit": {**SPREAD, "mom2_update_weight": 2.0, "L2": 1.0, "nullspace_share": 60, "refresh_every": 2},
    "emmet": {**SPREAD, "mom2_update_weight": 20.0, "emmet_lambda": 0.1},
    "encore": {**SPREAD, "mom2_update_weight": 2.0, "update_norm_lambda": 1.0, "stop_when_most_probable": True},
    "evoedit": {**SPREAD, "L2": 1.0, "nullspace_share": 60},
    "kn": {"steps": 4},
    "memit": {**SPREAD, "mom2_update_weight": 2.0},
    "memit-history": {**SPREAD, "mom2_update_weight": 2.0},
    "r-rome": ONE,
    "rome": ONE,
    "ultraedit": {"up_layers": [1], "down_layers": [1, 2], "lr": 1e-3},
}
FACTS = facts()[:4]

BOUND = 1e-4
"""Of the norm of an update. Two roundings of float32 are found up to 1e-5 apart after these few steps of a search."""


def tiny(family: str, device: str = "cpu") -> EditableModel:
    model, tokenizer = tiny_model(family)
    return EditableModel(model.to(device), tokenizer, name=f"tiny-{family}")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = tmp_path_factory.mktemp("corpus") / "sentences.txt"
    text.write_text("\n".join(SENTENCES * 20), encoding="utf-8")
    return text


def collected(model: EditableModel, corpus: Path) -> Covariance:
    n = covariance.dimension(model, 0)
    return covariance.collect(model, Recipe(model.name, Corpus(str(corpus)), tokens=11 * n), [0, 1])


@pytest.fixture(scope="module")
def covariances(corpus: Path) -> dict[str, Covariance]:
    """By family, on the CPU, where those of the cache lie."""
    return {family: collected(tiny(family), corpus) for family in FAMILIES}


@pytest.fixture(scope="module")
def hypernetworks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """MEND, trained for four edits on the CPU, by family."""
    folders = {}
    for family in FAMILIES:
        folders[family] = tmp_path_factory.mktemp(family)
        list(Trainer(tiny(family), facts(), SHORT, folders[family]).train())
    return folders


SHORT = MendSettings.model_validate(
    {"rank": 8, "blocks": 2, "lr": 1e-3, "lr_lr": 1e-3, "edit_lr": 1e-2, "accumulate": 2, "iterations": 4}
    | {"validate_every": 2, "save_every": 2, "validation": 4, "held_out": 4, "normalize_over": 8}
)


def far(one: Update, other: Update) -> float:
    """The largest distance of a matrix of two updates, of its norm."""
    assert list(one) == list(other)
    off = {n: float((one.dense(n).cpu() - other.dense(n).cpu()).norm() / other.dense(n).norm()) for n in one}
    return max(off.values())


def two_operations(method: Editor, model: EditableModel) -> list[Update]:
    """The second on the model as the first left it, which comes from its file, as in a sweep."""
    size = 2 if method.batch else 1
    first = method.compute(model, FACTS[:size], History())
    first = Update.from_bytes(first.to_bytes())
    with model.edited(first):
        return [first, method.compute(model, FACTS[2 : 2 + size], History().after(first))]


def test_every_method_is_here() -> None:
    """Those of EasyEdit run in a process of their own, in another environment."""
    assert SETTINGS.keys() | {"mend"} == {name for name in editors.EDITORS if not name.startswith(PREFIX)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [*SETTINGS, "mend"])
def test_an_editor_gives_the_same_update_there(
    name: str, family: str, covariances: dict[str, Covariance], hypernetworks: dict[str, Path]
) -> None:
    """Rows are packed on the CPU, and padded there."""
    found = []
    for device in (DEVICE, "cpu"):
        model = tiny(family, device)
        before = {n: p.detach().clone() for n, p in model.hf.named_parameters()}
        if name == "mend":
            method: Editor = Mend.build(model, MendHparams(checkpoint=str(hypernetworks[family])), None, None)
        else:
            method = editors.create(name, model, SETTINGS[name], TEMPLATES, covariances[family])
        found.append(two_operations(method, model))
        assert all(torch.equal(p, before[n]) for n, p in model.hf.named_parameters())
    for there, here in zip(*found, strict=True):
        assert far(there, here) < BOUND
        assert there.memory.keys() == here.memory.keys()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("rome", {"mom2_adjustment": False}),
        ("r-rome", {"r_rome": "released"}),
        ("memit", {"mom2_adjustment": False}),
        ("rome", {"kl_factor": 0.0, "context_template_length_params": [[3, 2]], "prefixes": None}),
    ],
)
def test_what_settings_change_is_changed_there_too(name: str, more: dict[str, Any]) -> None:
    """Without a covariance, with the released form of a value, with prefixes that the model draws itself."""
    templates = None if "prefixes" in more else TEMPLATES
    hparams = {**SETTINGS[name], "mom2_adjustment": False, **{k: v for k, v in more.items() if k != "prefixes"}}
    results = []
    for device in (DEVICE, "cpu"):
        model = tiny("llama", device)
        results.append(two_operations(editors.create(name, model, hparams, templates), model))
    for there, here in zip(*results, strict=True):
        assert far(there, here) < BOUND


@pytest.mark.parametrize("family", [family for family in EVERY_FAMILY if family not in FAMILIES])
@pytest.mark.parametrize("name", ["rome", "kn", "ultraedit"])
def test_every_family_is_edited_there(name: str, family: str) -> None:
    """Among them those whose layers see a window, or have norms and caps of their own."""
    results = []
    for device in (DEVICE, "cpu"):
        model = tiny(family, device)
        hparams = {**SETTINGS[name], **({"mom2_adjustment": False} if name == "rome" else {})}
        results.append(two_operations(editors.create(name, model, hparams, TEMPLATES), model))
    for there, here in zip(*results, strict=True):
        assert far(there, here) < BOUND


@pytest.mark.parametrize("name", [name for name in SETTINGS if editors.EDITORS[name].remembers])
def test_a_history_may_lie_there(name: str, covariances: dict[str, Covariance]) -> None:
    """As it does where an operation has just been computed, and was not read from a store."""
    found = []
    for device in (DEVICE, "cpu"):
        model = tiny("llama", device)
        method = editors.create(name, model, SETTINGS[name], TEMPLATES, covariances["llama"])
        first = method.compute(model, FACTS[:2], History())
        with model.edited(first):
            found.append(method.compute(model, FACTS[2:], History().after(first)))
    assert far(*found) < BOUND


def test_facts_that_are_learned_early_leave_the_others_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several facts whose values are optimized together some are done before others."""
    hparams = {**SETTINGS["memit"], "mom2_adjustment": False}
    first, second, *_ = sorted(losses[0] for losses in _losses(tiny("llama"), hparams))
    monkeypatch.setattr(search, "ENOUGH", (first + second) / 2)
    there, here = (
        editors.create("memit", model, hparams, TEMPLATES).compute(model, FACTS)
        for model in (tiny("llama", DEVICE), tiny("llama"))
    )
    assert far(there, here) < BOUND
    steps = [len(losses) for losses in _losses(tiny("llama"), hparams)]
    assert min(steps) == 1 < max(steps)


def _losses(model: EditableModel, hparams: dict[str, Any]) -> list[tuple[float, ...]]:
    """Of each fact, in each step of the search."""
    method = editors.create("memit", model, hparams, TEMPLATES)
    assert isinstance(method, Memit)
    return [one.losses for one in method.values(model, FACTS)]


@pytest.mark.parametrize("name", [False, True], ids=["before", "after"])
def test_a_difference_is_taken_where_the_later_weights_lie(name: bool) -> None:
    """What comes from another process comes on the CPU."""
    draw = torch.Generator().manual_seed(0)
    before = torch.randn(48, 32, generator=draw)
    after = before + 0.1 * torch.randn(48, 2, generator=draw) @ torch.randn(2, 32, generator=draw)
    here = difference(before, after)
    there = difference(before, after.to(DEVICE)) if name else difference(before.to(DEVICE), after)
    assert type(there) is type(here)
    assert (there.dense().cpu() - here.dense()).norm() < BOUND * here.dense().norm()


def test_vectors_are_stored_from_there() -> None:
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    losses = ((2.0, 1.0), (3.0,))
    back = Vectors.from_bytes(Vectors(z.to(DEVICE), losses).to_bytes(), "a test")
    assert torch.equal(back.z, z)
    assert back.losses == losses


def test_a_covariance_may_lie_there(corpus: Path, covariances: dict[str, Covariance]) -> None:
    """As it does where it has just been computed, and not read from the cache."""
    model = tiny("llama", DEVICE)
    found = []
    for one in (collected(model, corpus), covariances["llama"]):
        found.append(editors.create("alphaedit", model, SETTINGS["alphaedit"], TEMPLATES, one).compute(model, FACTS))
    assert far(*found) < BOUND


def test_mend_learns_there_what_it_learns_here_and_goes_on_there(tmp_path: Path) -> None:
    """Losses of the first edits are those of the CPU; it is stopped, read again from its file there, and finished."""
    whole = {}
    for device in (DEVICE, "cpu"):
        trainer = Trainer(tiny("llama", device), facts(), SHORT, tmp_path / device)
        list(trainer.train())
        trainer.take_best()
        whole[device] = trainer
    there, here = whole[DEVICE], whole["cpu"]
    torch.testing.assert_close(torch.tensor(there.losses), torch.tensor(here.losses), rtol=1e-4, atol=1e-4)
    for name, tensor in here.network.state_dict().items():
        torch.testing.assert_close(there.network.state_dict()[name].cpu(), tensor, rtol=1e-3, atol=1e-4)

    list(Trainer(tiny("llama", DEVICE), facts(), SHORT, tmp_path / "stopped").train(2))
    resumed = Trainer(tiny("llama", DEVICE), facts(), SHORT, tmp_path / "stopped")
    assert resumed.edits == 2
    list(resumed.train())
    assert resumed.losses == there.losses
    resumed.take_best()
    chosen = resumed.split.held_out[:2]
    assert resumed.evaluate(chosen) == pytest.approx(here.evaluate(chosen), rel=1e-3, abs=1e-3)
