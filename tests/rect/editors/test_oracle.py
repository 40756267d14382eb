"""ROME and MEMIT against the numbers of an independent implementation on the default model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rect import editors
from rect.covariance import Covariance
from rect.editors.memit import Memit
from rect.facts import Fact
from rect.model import EditableModel
from tests.rect import reference
from tests.rect.reference import TEMPLATES, cosine

pytestmark = pytest.mark.model

# Subjects of the six facts of the MEMIT batch, in order; prompts and targets are in its JSON.
SUBJECTS = ["France", "Steve Jobs", "Danielle Darrieux", "Eiffel Tower", "Great Wall", "Albert Einstein"]


@pytest.fixture(scope="module")
def model(default_model_folder: Path) -> EditableModel:
    return EditableModel.load(str(default_model_folder), device="cpu")


@pytest.fixture(scope="module")
def covariance(shared_oracle: Path) -> Covariance:
    return reference.covariance(shared_oracle)


def greedy_is(model: EditableModel, prompt: str, text: str) -> bool:
    n = len(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    return model.complete(prompt, n) == text


@pytest.mark.parametrize("key", ["plain_f0", "plain_f2", "plain_f4", "mom2_f0"])
def test_rome_equals_the_reference(model: EditableModel, covariance: Covariance, shared_oracle: Path, key: str) -> None:
    expected = json.loads((shared_oracle / "rome.json").read_text())["facts"][key]
    vectors = np.load(shared_oracle / "rome.npz")
    u, v = (torch.from_numpy(vectors[f"{key}_{name}"]) for name in "uv")

    wanted = Fact(subject=expected["subject"], prompt=expected["template"], target=expected["target"])
    hparams = {"layers": [expected["layer"]], "mom2_adjustment": expected["mom2_adjustment"]}
    update = editors.create("rome", model, hparams, TEMPLATES, covariance).compute(model, [wanted])

    losses = update.provenance["losses"][0]
    assert len(losses) == expected["n_forward"]
    assert losses == pytest.approx([step[0] for step in expected["steps_total_nll_kl_wd_prob"]], abs=2e-3)
    (name,) = update
    assert cosine(update[name].left, v) > 0.99999  # type: ignore[union-attr]
    assert cosine(update[name].right, u) > 0.99999  # type: ignore[union-attr]
    assert update.dense(name).norm().item() == pytest.approx(expected["dW_norm"], rel=1e-3)
    with model.edited(update):
        assert greedy_is(model, wanted.filled, expected["after"]["greedy"])


def test_memit_equals_the_reference(model: EditableModel, covariance: Covariance, shared_oracle: Path) -> None:
    expected: dict[str, Any] = json.loads((shared_oracle / "memit_lambda1500.json").read_text())
    vectors = {k: torch.from_numpy(v) for k, v in np.load(shared_oracle / "memit_lambda1500.npz").items()}
    facts = [
        Fact(subject=subject, prompt=record["prompt"].replace(subject, "{}"), target=record["target"])
        for subject, record in zip(SUBJECTS, expected["facts"], strict=True)
    ]
    hparams = {"layers": expected["layers"], "mom2_update_weight": expected["mom2_update_weight"]}
    editor = editors.create("memit", model, hparams, TEMPLATES, covariance)
    assert isinstance(editor, Memit)
    z = torch.stack([value.target for value in editor.values(model, facts)])
    for i in (0, 2, 4):
        assert cosine(z[i], vectors[f"z_f{i}"]) > 0.99999
        assert z[i].norm().item() == pytest.approx(vectors[f"z_f{i}"].norm().item(), rel=1e-3)
    update = editor.distribute(model, facts, z)
    for layer in expected["layers"]:
        name = model.mlp_out_name(layer)
        dense = vectors[f"l{layer}_resid"] @ vectors[f"l{layer}_adjk"].T
        assert cosine(update.dense(name), dense) > 0.99999
        assert update.dense(name).norm().item() == pytest.approx(expected["dW_norm"][str(layer)], rel=1e-3)
    with model.edited(update):
        for fact, record in zip(facts, expected["facts"], strict=True):
            assert greedy_is(model, fact.filled, record["greedy"])
