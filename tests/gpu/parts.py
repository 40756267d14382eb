"""What the checks share: tiny models on a device, and how far two updates lie apart."""

from __future__ import annotations

from typing import Any

import torch

from rect import editors
from rect.facts import Fact, Locality
from rect.model import EditableModel
from rect.update import Update
from tests.rect.editors import field
from tests.tiny import tiny_model

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
METHODS: dict[str, dict[str, Any]] = {
    **{name: {"layers": field.LAYERS, "v_num_grad_steps": 5, **values} for name, values in field.SETTINGS.items()},
    **{name: {"layers": [1], "v_num_grad_steps": 5, "mom2_adjustment": True} for name in ("rome", "r-rome")},
    "ultraedit": {"up_layers": [1], "down_layers": [1], "lr": 1e-3},
    "kn": {"steps": 4},
}


def tiny(family: str, device: str, dtype: torch.dtype = torch.float32) -> EditableModel:
    hf, tokenizer = tiny_model(family)
    return EditableModel(hf.to(device=device, dtype=dtype), tokenizer, name=f"tiny-{family}")


def editor(name: str, model: EditableModel) -> Any:
    return editors.create(name, model, METHODS[name], field.TEMPLATES, field.covariance(model))


def apart(a: Update, b: Update) -> float:
    """The largest relative distance of a matrix of two updates."""
    assert set(a) == set(b)
    return max(float((a.dense(n).cpu() - b.dense(n).cpu()).norm() / b.dense(n).cpu().norm()) for n in a)
