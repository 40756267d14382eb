"""Packed rows: the numbers and gradients that transformers' attention gives for padded ones."""

from __future__ import annotations

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rect.editors.value_search.packing import NAME, Packing, packed, packed_attention
from tests.tiny import tiny_model


class Layer(torch.nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 2), (3, 1)])
def test_packed_queries_have_the_numbers_of_padded_ones(heads: int, key_heads: int, scaling: float | None) -> None:
    torch.manual_seed(0)
    packing = Packing([3, 1, 2], 4, torch.device("cpu"))  # one position longer than the longest row
    query = torch.randn(3, heads, 4, 8, requires_grad=True)
    key, value = (torch.randn(3, key_heads, 4, 8, requires_grad=True) for _ in range(2))
    mask = torch.zeros(3, 1, 4, 4).masked_fill(~torch.ones(4, 4).tril().bool(), torch.finfo(torch.float32).min)
    weights = torch.randn(3, 4, heads, 8)
    weights[[0, 1, 1, 1, 2, 2], [3, 1, 2, 3, 2, 3]] = 0  # the padding is not looked at
    layer = Layer(heads // key_heads)
    plain, _ = sdpa_attention_forward(layer, query, key, value, mask, scaling=scaling)
    lying = packing.pack(query.transpose(1, 2)).transpose(1, 2)
    found, _ = packed_attention(layer, lying, key, value, mask, packing=packing, scaling=scaling)
    assert found.shape == (1, 6, heads, 8)
    results = [
        [states, *torch.autograd.grad((states * weights).sum(), [query, key, value])]
        for states in (plain, packing.spread(found))
    ]
    for ours, theirs in zip(*results, strict=True):
        real = weights.abs() > 0 if ours.shape == weights.shape else torch.ones_like(ours, dtype=torch.bool)
        torch.testing.assert_close(ours[real], theirs[real])


def test_only_inside_of_the_block_and_only_for_sdpa() -> None:
    model, _ = tiny_model("llama")
    config = model.config
    with packed(model):
        assert config._attn_implementation == NAME
    assert config._attn_implementation == "sdpa"
    with pytest.raises(KeyError), packed(model):
        raise KeyError
    assert config._attn_implementation == "sdpa"
    config._attn_implementation = "eager"
    with packed(model):
        assert config._attn_implementation == "eager"
