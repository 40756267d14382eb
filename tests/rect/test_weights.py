"""Weight statistics against numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rect import EditableModel, weights
from rect.covariance import Covariance
from rect.update import Dense, Update
from tests import tiny


def test_statistics_by_hand() -> None:
    model = EditableModel(*tiny.tiny_model("llama"))
    name = model.mlp_out_name(1)
    live = model.weight(name)
    live.fill_(2.0)
    live[0, 0] = 0.0
    delta = torch.zeros(64, 160)
    delta[0, 0] = 0.5  # a zero weight that changes: infinite
    delta[1, :10] = -0.2  # delta = 0.1
    delta[2, :20] = 0.4  # delta = 0.2
    delta[3, :30] = 0.1  # delta = 0.05
    assert weights.statistics(model) == {}
    model.add(Update({name: Dense(delta)}))
    found = weights.statistics(model)
    assert list(found) == [name]
    assert found[name]["manhattan"] == pytest.approx(0.5 + 2 + 8 + 3, rel=1e-5)
    assert found[name]["share_over_0.077"] == pytest.approx(31 / 10240)
    assert found[name]["share_over_0.171"] == pytest.approx(21 / 10240)
    assert weights.statistics(model, thresholds=(0.01,))[name]["share_over_0.01"] == pytest.approx(61 / 10240)
    model.restore()
    assert weights.statistics(model) == {}


def test_they_are_against_the_unedited_weights() -> None:
    """After several operations the distance is that of the sum, not the sum of distances."""
    model = EditableModel(*tiny.tiny_model("gpt2"))
    name = model.mlp_out_name(0)
    up = Update({name: Dense(torch.ones(model.weight(name).shape))})
    down = Update({name: Dense(torch.full(model.weight(name).shape, -0.75))})
    model.add(up)
    model.add(down)
    assert weights.statistics(model)[name]["manhattan"] == pytest.approx(0.25 * 256 * 64, rel=1e-4)


def test_low_precision_is_summed_in_full() -> None:
    hf, tokenizer = tiny.tiny_model("llama")
    model = EditableModel(hf.to(torch.bfloat16), tokenizer)
    name = model.mlp_out_name(0)
    model.weight(name).fill_(1.0)
    model.add(Update({name: Dense(torch.ones(64, 160))}))
    assert weights.statistics(model)[name]["manhattan"] == 64 * 160


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_leak_is_what_the_output_moves_on_the_text_of_the_covariance(family: str) -> None:
    """Against the mean over keys, one by one, of the squared change of the output; Frobenius against numpy."""
    model = EditableModel(*tiny.tiny_model(family))
    name, other = model.mlp_out_name(1), model.mlp_in_names(0)[0]
    weight = model.weight(name)
    draw = torch.Generator().manual_seed(0)
    inside = weight.shape[0] if family == "gpt2" else weight.shape[1]
    keys = torch.randn(400, inside, generator=draw)
    delta = torch.randn(weight.shape, generator=draw) * 0.01
    before = weight.clone()
    model.add(Update({name: Dense(delta), other: Dense(torch.ones(model.weight(other).shape))}))
    moved = keys @ (weight - before) if family == "gpt2" else keys @ (weight - before).T  # (keys, out)
    found = weights.statistics(model, covariance=Covariance({1: keys.T @ keys / 400}, 400, {}))
    assert found[name]["leak"] == pytest.approx(float(moved.double().square().sum(1).mean()), rel=1e-5)
    assert found[name]["frobenius"] == pytest.approx(np.linalg.norm((weight - before).numpy()), rel=1e-5)
    assert "leak" not in found[other]  # of its inputs nothing is known
    assert "leak" not in weights.statistics(model)[name]
