"""Methods of keys and values at home on tiny models: facts, hyperparameters, a covariance."""

from __future__ import annotations

from typing import Any

import torch

from rect import editors
from rect.covariance import Covariance
from rect.facts import Fact
from rect.model import EditableModel
from rect.update import Update
from tests.tiny import tiny_model

TEMPLATES = ["{}", "The answer is. {}", "True. {}"]
FACTS = [
    Fact(subject="Albert Einstein", prompt="A film of {} was born in", target="Spain"),
    Fact(subject="France", prompt="{} is", target="Rome, Italy"),
    Fact(subject="the old bridge", prompt="The designer of {} was", target="Ulm"),
    Fact(subject="the Moon", prompt="The mother tongue of {} is", target="French"),
]
LAYERS = [0, 1]
FAMILIES = ["gpt2", "llama"]
SETTINGS: dict[str, dict[str, Any]] = {
    "memit": {"mom2_update_weight": 2.0},
    "memit-history": {"mom2_update_weight": 2.0},
    "alphaedit": {"L2": 1.0, "nullspace_share": 60},
    "encore": {"mom2_update_weight": 2.0, "update_norm_lambda": 1.0},
    "betaedit": {"mom2_update_weight": 2.0, "L2": 1.0, "nullspace_share": 60, "refresh_every": 2},
    "evoedit": {"L2": 1.0, "nullspace_share": 60},
    "emmet": {"mom2_update_weight": 20.0, "emmet_lambda": 0.1},
}
REMEMBER = ["memit-history", "alphaedit", "encore", "betaedit", "evoedit"]


def tiny(family: str = "llama") -> EditableModel:
    return EditableModel(*tiny_model(family), name=f"tiny-{family}")


def width(model: EditableModel) -> int:
    return max(model.weight(model.mlp_out_name(0)).shape)


def covariance(model: EditableModel, tokens: float = 10) -> Covariance:
    """Of keys whose directions are used more and less."""
    n = width(model)
    draw = torch.Generator().manual_seed(0)
    keys = [torch.randn(2 * n, n, generator=draw, dtype=torch.float64) for _ in LAYERS]
    scale = torch.arange(1, n + 1, dtype=torch.float64) ** -0.5
    return Covariance({layer: (k * scale).T @ (k * scale) / n for layer, k in enumerate(keys)}, int(tokens * n), {})


def editor(name: str, model: EditableModel, **more: Any) -> Any:
    hparams = {"layers": LAYERS, "v_num_grad_steps": 6, **SETTINGS.get(name, {}), **more}
    return editors.create(name, model, hparams, TEMPLATES, covariance(model))


def inputs(update: Update, model: EditableModel, name: str) -> torch.Tensor:
    """dW as (out, in), float64."""
    dense = update.dense(name).double()
    return dense.T if model.architecture.transposed else dense


def keys(update: Update, name: str) -> torch.Tensor:
    return update.memory[name]["keys"].double().T  # (in, facts)
