"""Weight statistics against numbers that can be checked by hand."""

from __future__ import annotations

import pytest
import torch

from rect import EditableModel, weights
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
