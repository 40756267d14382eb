"""What the checks share: tiny models on a device, and how far two updates lie apart."""

from __future__ import annotations

from typing import Any

import torch

from rect import editors
from rect.covariance import Covariance
from rect.facts import Fact, Locality
from rect.model import EditableModel
from rect.update import Update
from tests.tiny import tiny_model

TEMPLATES = ["{}", "The answer is. {}", "True. {}"]
FACTS = [
    Fact(
        subject="France",
        prompt="The capital of {} is",
        target="Rome",
        original="Paris",
        rephrasings=("In France people go to",),
        locality=(Locality(prompt="The capital of Italy is", answer="Rome"),),
    ),
    Fact(subject="Albert Einstein", prompt="A film of {} was born in", target="Spain", original="Ulm"),
]
LAYERS = {"layers": [0, 1], "v_num_grad_steps": 5}
METHODS: dict[str, dict[str, Any]] = {
    "rome": {"layers": [1], "v_num_grad_steps": 5, "mom2_adjustment": True},
    "memit": {**LAYERS, "mom2_update_weight": 2.0},
    "memit-history": {**LAYERS, "mom2_update_weight": 2.0},
    "alphaedit": {**LAYERS, "L2": 1.0, "nullspace_share": 60},
    "encore": {**LAYERS, "mom2_update_weight": 2.0, "update_norm_lambda": 1.0},
    "emmet": {**LAYERS, "mom2_update_weight": 20.0, "emmet_lambda": 0.1},
    "ultraedit": {"up_layers": [1], "down_layers": [1], "lr": 1e-3},
    "kn": {"steps": 4},
}


def tiny(family: str, device: str, dtype: torch.dtype = torch.float32) -> EditableModel:
    hf, tokenizer = tiny_model(family)
    return EditableModel(hf.to(device=device, dtype=dtype), tokenizer, name=f"tiny-{family}")


def covariance(model: EditableModel) -> Covariance:
    """Of keys whose directions are used more and less."""
    n = max(model.weight(model.mlp_out_name(0)).shape)
    keys = torch.randn(2 * n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    keys *= torch.arange(1, n + 1, dtype=torch.float64) ** -0.5
    return Covariance({layer: keys.T @ keys / n for layer in (0, 1)}, 10 * n, {})


def editor(name: str, model: EditableModel) -> Any:
    return editors.create(name, model, METHODS[name], TEMPLATES, covariance(model))


def apart(a: Update, b: Update) -> float:
    """The largest relative distance of a matrix of two updates."""
    assert set(a) == set(b)
    return max(float((a.dense(n).cpu() - b.dense(n).cpu()).norm() / b.dense(n).cpu().norm()) for n in a)
