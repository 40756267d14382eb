"""AlphaEdit, MEMIT with history, EMMET and R-ROME against what their releases computed on the default model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rect import editors
from rect.closed_form import Prior, adjusted
from rect.covariance import Covariance
from rect.editors.memit import Memit
from rect.facts import Fact
from rect.history import History
from rect.model import EditableModel
from tests.rect import reference
from tests.rect.reference import TEMPLATES, cosine

LAYERS = range(4, 9)


class Numbers:
    """A reference: its arrays as tensors, and what is said of them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.arrays = np.load(folder / f"{name}.npz")
        self.about: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def product(self, left: str, right: str) -> Tensor:
        return self[left].double() @ self[right].double().T

    def facts(self) -> list[Fact]:
        return [
            Fact(subject=one["subject"], prompt=one["prompt"], target=one["target"].strip())
            for one in self.about["facts"]
        ]


@pytest.fixture(scope="module")
def covariance(shared_oracle: Path) -> Covariance:
    return reference.covariance(shared_oracle)


@pytest.fixture(scope="module")
def alphaedit(shared_oracle: Path) -> Numbers:
    return Numbers(shared_oracle, "alphaedit")


@pytest.fixture(scope="module")
def memit_history(shared_oracle: Path) -> Numbers:
    return Numbers(shared_oracle, "memit_history")


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def past(numbers: Numbers, operation: int, layer: int) -> Tensor | None:
    return numbers[f"op0_l{layer}_K"].double() if operation else None


@pytest.mark.parametrize("layer", LAYERS)
def test_alphaedit_s_solve(alphaedit: Numbers, covariance: Covariance, layer: int) -> None:
    directions = covariance.of(layer).null_space(threshold=alphaedit.about["nullspace_threshold"])
    assert len(directions[0]) == alphaedit.about["rank_P"][str(layer)]
    j = torch.arange(1536, dtype=torch.float64)
    u = directions[1]
    assert relative(u @ (u.T @ j.cos()), alphaedit[f"l{layer}_P_cos"]) < 1e-5
    assert relative(u @ (u.T @ (0.7 * j + 0.3).sin()), alphaedit[f"l{layer}_P_sin"]) < 1e-5
    setting = Prior(0.0, ridge=alphaedit.about["L2"], directions=directions)
    for operation in (0, 1):
        begin = f"op{operation}_l{layer}"
        adj = adjusted(alphaedit[f"{begin}_K"].double(), setting, past(alphaedit, operation, layer))
        expected = alphaedit.product(f"{begin}_left", f"{begin}_right")
        assert relative(alphaedit[f"{begin}_R"].double() @ adj.T, expected) < 1e-4


@pytest.mark.parametrize("layer", LAYERS)
def test_the_solve_of_memit_with_history(memit_history: Numbers, covariance: Covariance, layer: int) -> None:
    setting = Prior(memit_history.about["mom2_update_weight"], covariance=covariance.of(layer))
    for operation in (0, 1):
        begin = f"op{operation}_l{layer}"
        found = adjusted(memit_history[f"{begin}_K"].double(), setting, past(memit_history, operation, layer))
        assert relative(found, memit_history[f"{begin}_adjk"]) < 1e-6


@pytest.fixture(scope="module")
def model(default_model_folder: Path) -> EditableModel:
    return EditableModel.load(str(default_model_folder), device="cpu")


def check(
    model: EditableModel, update: Any, expected: dict[int, Tensor], history: History, sums: dict[int, Tensor]
) -> None:
    """An operation's dW, and H with it, at each layer."""
    c = torch.arange(1536, dtype=torch.float64).cos()
    for layer, dense in expected.items():
        name = model.mlp_out_name(layer)
        assert cosine(update.dense(name), dense) > 0.9999
        assert float(update.dense(name).norm()) == pytest.approx(float(dense.norm()), rel=2e-3)
        keys = history.past(name, 1536)
        assert keys is not None
        assert relative(keys @ (keys.T @ c), sums[layer]) < 1e-3


@pytest.mark.model
@pytest.mark.parametrize("method", ["alphaedit", "memit-history"])
def test_two_operations(
    model: EditableModel, covariance: Covariance, request: pytest.FixtureRequest, method: str
) -> None:
    """From the search for values on the edited model to H: the second operation with the first in its solve."""
    numbers: Numbers = request.getfixturevalue(method.replace("-", "_"))
    factors = ("left", "right") if method == "alphaedit" else ("resid", "adjk")
    own = (
        {
            "L2": numbers.about["L2"],
            "nullspace_threshold": numbers.about["nullspace_threshold"],
            "nullspace_share": None,
        }
        if method == "alphaedit"
        else {"mom2_update_weight": numbers.about["mom2_update_weight"]}
    )
    editor = editors.create(method, model, {"layers": list(LAYERS), **own}, TEMPLATES, covariance)
    assert isinstance(editor, Memit)
    facts, history = numbers.facts(), History()
    try:
        for operation in (0, 1):
            said = numbers.about["operations"][operation]
            some = [facts[i] for i in said["facts"]]
            update = editor.compute(model, some, history)
            assert [len(losses) for losses in update.provenance["losses"]] == said["n_forward"]
            history = history.after(update)
            at = {layer: f"op{operation}_l{layer}_" for layer in LAYERS}
            expected = {layer: numbers.product(*(at[layer] + factor for factor in factors)) for layer in LAYERS}
            check(model, update, expected, history, {layer: numbers[f"{at[layer]}H_cos"] for layer in LAYERS})
            model.add(update)
    finally:
        model.restore()


@pytest.mark.model
def test_emmet(model: EditableModel, covariance: Covariance, shared_oracle: Path) -> None:
    numbers = Numbers(shared_oracle, "emmet")
    own = {key: numbers.about[key] for key in ("mom2_update_weight", "emmet_lambda", "update_norm_lambda")}
    editor = editors.create("emmet", model, {"layers": [numbers.about["layer"]], **own}, TEMPLATES, covariance)
    update = editor.compute(model, numbers.facts())
    (name,) = update
    assert cosine(update.dense(name), numbers.product("resid", "adjk")) > 0.9999
    assert float(update.dense(name).norm()) == pytest.approx(numbers.about["dW_norm"], rel=1e-3)


@pytest.mark.model
@pytest.mark.parametrize("key", ["plain_f0", "mom2_f0", "plain_f2", "mom2_f2"])
def test_r_rome(model: EditableModel, covariance: Covariance, shared_oracle: Path, key: str) -> None:
    numbers = Numbers(shared_oracle, "r_rome")
    said = numbers.about[key]
    fact = Fact(subject=said["subject"], prompt=said["prompt"], target=said["target"].strip())
    own = {"layers": [said["layer"]], "mom2_adjustment": said["mom2_adjustment"], "r_rome": "released"}
    update = editors.create("r-rome", model, own, TEMPLATES, covariance).compute(model, [fact])
    (name,) = update
    expected = numbers[f"{key}_v"][:, None] @ numbers[f"{key}_u"][None]
    assert cosine(update.dense(name), expected) > 0.9999
    assert float(update.dense(name).norm()) == pytest.approx(said["dW_norm"], rel=1e-3)
    assert relative(update.memory[name]["keys"][0], numbers[f"{key[-2:]}_k"]) < 1e-5
