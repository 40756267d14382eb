"""A replay may be off by rounding, and by nothing else."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from rect import EditableModel, regularizers
from rect.update import Dense, Update
from sweeps.run.replay import TOLERANCE, _difference, _sketches, check_state
from sweeps.store.store import Store, StoreError
from tests.tiny import tiny_model


@pytest.fixture
def model() -> EditableModel:
    return EditableModel(*tiny_model("llama"), name="tiny")


def change(model: EditableModel, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = [model.mlp_out_name(layer) for layer in (0, 2)]
    return {name: torch.randn(model.weight(name).shape, generator=generator) for name in names}


def edited(model: EditableModel, tensors: dict[str, torch.Tensor], k: float | None = None) -> None:
    model.restore()
    update = Update({name: Dense(tensor) for name, tensor in tensors.items()})
    model.add(update if k is None else regularizers.get("rect")(update, model, k=k))


@pytest.mark.parametrize("k", [None, 20, 80])
def test_other_rounding_is_let_through_and_told(
    model: EditableModel, k: float | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Elements at a mask's threshold change sides besides."""
    store, first = Store(tmp_path), change(model)
    edited(model, first, k)
    check_state(store, "s", model)
    check_state(store, "s", model)
    assert not caplog.records
    generator = torch.Generator().manual_seed(1)
    rounded = {n: t * (1 + 3e-7 * torch.randn(t.shape, generator=generator)) for n, t in first.items()}
    edited(model, rounded, k)
    with caplog.at_level(logging.WARNING):
        check_state(store, "s", model)
    assert "replayed with other rounding" in caplog.text


def test_what_is_no_rounding_is_refused(model: EditableModel, tmp_path: Path) -> None:
    store, first = Store(tmp_path), change(model)
    edited(model, first)
    check_state(store, "s", model)
    one = model.mlp_out_name(0)
    norms = {name: tensor.norm() for name, tensor in change(model, 5).items()}
    others = [
        {name: tensor * first[name].norm() / norms[name] for name, tensor in change(model, 5).items()},  # equal norms
        {name: tensor * 1.05 for name, tensor in first.items()},
        {name: -tensor for name, tensor in first.items()},
        {**first, one: first[one].flip(0)},
        {one: first[one]},
        {},
    ]
    for other in others:
        edited(model, other)
        with pytest.raises(StoreError, match="replaying the stored updates gave other weights than before"):
            check_state(store, "s", model)


def test_sketches_estimate_the_norm_of_the_difference(model: EditableModel) -> None:
    first, second = change(model), change(model, 7)
    for size in (1e-3, 0.01, 0.1):
        edited(model, first)
        one = _sketches(model)
        edited(model, {name: first[name] + size * second[name] for name in first})
        true = max(float((size * second[n]).norm() / first[n].norm()) for n in first)
        assert _difference(one, _sketches(model)) == pytest.approx(true, rel=0.6)
    assert TOLERANCE < 0.05
