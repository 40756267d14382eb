"""ROME against the numbers of an independent implementation on the default model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rect import editors
from rect.facts import Fact
from rect.model import EditableModel

pytestmark = pytest.mark.model

TEMPLATES = [
    "{}",
    "The first thing I did. {}",
    "Therefore, it is. {}",
    "Because of this. {}",
    "I think. {}",
    "You know. {}",
]
NAME = "model.layers.5.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def model(default_model_folder: Path) -> EditableModel:
    return EditableModel.load(str(default_model_folder), device="cpu")


@pytest.mark.parametrize("fact", ["f0", "f2", "f4"])
def test_rome_equals_the_reference(model: EditableModel, shared_oracle: Path, fact: str) -> None:
    expected = json.loads((shared_oracle / "rome.json").read_text())["facts"][f"plain_{fact}"]
    vectors = np.load(shared_oracle / "rome.npz")
    u, v = (torch.from_numpy(vectors[f"plain_{fact}_{name}"]) for name in "uv")

    wanted = Fact(subject=expected["subject"], prompt=expected["template"], target=expected["target"])
    update = editors.create("rome", model, {"layers": [5]}, TEMPLATES).compute(model, [wanted])

    losses = update.provenance["losses"][0]
    assert len(losses) == expected["n_forward"]
    assert losses == pytest.approx([step[0] for step in expected["steps_total_nll_kl_wd_prob"]], abs=2e-3)
    entry = update[NAME]
    assert torch.cosine_similarity(entry.left[:, 0], v, 0).item() > 0.99999
    assert torch.cosine_similarity(entry.right[0], u, 0).item() > 0.99999
    assert update.dense(NAME).norm().item() == pytest.approx(expected["dW_norm"], rel=1e-3)
    with model.edited(update):
        greedy = expected["after"]["greedy"]
        n = len(model.tokenizer(greedy, add_special_tokens=False)["input_ids"])
        assert model.complete(wanted.filled, n) == greedy
