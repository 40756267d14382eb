"""Differences of checkpoints in several dtypes: what rounding explains is left out, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rect import Update

Weights = dict[str, Tensor]
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32


def original() -> Weights:
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.05 * torch.randn(40, 50, generator=generator) for name in "abc"}
    return {**weights, "norm": torch.ones(50)}


def cast(weights: Weights, *kinds: torch.dtype) -> Weights:
    for kind in kinds:
        weights = {name: tensor.to(kind) for name, tensor in weights.items()}
    return weights


def edited(weights: Weights) -> Weights:
    """Another value in some elements of "b", further away than rounding gets."""
    changed = {name: tensor.clone() for name, tensor in weights.items()}
    changed["b"][::7, ::3] += 0.25
    return changed


CHAINS = [
    ((FULL,), (HALF,)),
    ((FULL,), (BRAIN,)),
    ((FULL,), (HALF, BRAIN)),
    ((FULL,), (BRAIN, HALF)),
    ((FULL,), (BRAIN, FULL)),
    ((FULL,), (HALF, FULL)),
    ((HALF,), (FULL,)),
    ((BRAIN,), (FULL,)),
    ((HALF, BRAIN), (FULL,)),
    ((HALF,), (BRAIN,)),
    ((BRAIN,), (HALF,)),
    ((HALF,), (HALF, BRAIN)),
    ((BRAIN,), (BRAIN, HALF)),
    ((torch.float64,), (FULL,)),
]


@pytest.mark.parametrize(("base", "other"), CHAINS)
def test_rounding_alone_is_no_update(
    base: tuple[torch.dtype, ...], other: tuple[torch.dtype, ...], caplog: pytest.LogCaptureFixture
) -> None:
    weights = original()
    assert list(Update.between(cast(weights, *base), cast(weights, *other))) == []
    assert str(other[-1]).removeprefix("torch.") in caplog.text
    caplog.clear()
    update = Update.between(cast(weights, *base), cast(edited(weights), *other))
    assert list(update) == ["b"]
    changed = update.dense("b") != 0
    expected = torch.zeros(40, 50, dtype=torch.bool)
    expected[::7, ::3] = True
    assert torch.equal(changed, expected)
    assert "rounded" in caplog.text or "exact" in caplog.text  # nothing is lost from bfloat16 to float16 at 0.05


@pytest.mark.parametrize("kind", [HALF, BRAIN])
def test_small_edits_of_the_rounded_base_itself_are_kept(kind: torch.dtype, caplog: pytest.LogCaptureFixture) -> None:
    """A base in bfloat16, loaded in float32, edited and saved so: most of the update is below a step of the base."""
    base = cast(original(), kind)
    changed = cast(base, FULL)
    delta = 1e-6 * torch.randn(40, 50, generator=torch.Generator().manual_seed(1))
    changed["b"] += delta
    update = Update.between(base, changed)
    assert list(update) == ["b"]
    torch.testing.assert_close(update.dense("b"), delta, atol=1e-8, rtol=0)
    assert "exact" in caplog.text


def test_one_step_of_the_lower_dtype_is_an_update() -> None:
    base = original()
    changed = cast(base, HALF)
    changed["a"].view(torch.int16)[0, 0] += 1
    update = Update.between(base, changed)
    assert list(update) == ["a"]
    assert int((update.dense("a") != 0).sum()) == 1


def test_within_one_dtype_every_difference_is_an_update(caplog: pytest.LogCaptureFixture) -> None:
    base = original()
    changed = {name: tensor + 1e-6 * (1 + tensor.abs()) for name, tensor in base.items()}
    update = Update.between(base, changed)
    assert list(update) == list(base)
    assert all(bool((update.dense(name) != 0).all()) for name in "abc")
    assert caplog.text == ""
