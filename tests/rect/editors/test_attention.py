"""Attention of few queries: the numbers and gradients of transformers' sdpa, with shared key heads and without."""

from __future__ import annotations

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rect.editors.value_search.attention import NAME, Packing, short, short_attention
from tests.tiny import tiny_model


class Layer(torch.nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 2), (3, 1)])
def test_equal_to_sdpa(heads: int, key_heads: int, scaling: float | None) -> None:
    torch.manual_seed(0)
    query = torch.randn(5, heads, 3, 8, requires_grad=True)
    key, value = (torch.randn(5, key_heads, 7, 8, requires_grad=True) for _ in range(2))
    mask = torch.zeros(5, 1, 3, 7).masked_fill(torch.rand(5, 1, 3, 7) < 0.4, torch.finfo(torch.float32).min)
    mask[..., 0] = 0
    layer, weights = Layer(heads // key_heads), torch.randn(5, 3, heads, 8)
    results = []
    for attend in (short_attention, sdpa_attention_forward):
        found, _ = attend(layer, query, key, value, mask, scaling=scaling)
        results.append([found, *torch.autograd.grad((found * weights).sum(), [query, key, value])])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_packed_queries_have_the_numbers_of_padded_ones() -> None:
    torch.manual_seed(0)
    lengths = [3, 1, 2]
    packing = Packing(lengths, 4, torch.device("cpu"))  # one position longer than the longest row
    query, key, value = (torch.randn(3, heads, 4, 8, requires_grad=True) for heads in (4, 2, 2))
    mask = torch.zeros(3, 1, 4, 4).masked_fill(~torch.ones(4, 4).tril().bool(), torch.finfo(torch.float32).min)
    weights = torch.randn(3, 4, 4, 8)
    weights[[0, 1, 1, 1, 2, 2], [3, 1, 2, 3, 2, 3]] = 0  # the padding is not looked at
    plain, _ = short_attention(Layer(2), query, key, value, mask)
    packed, _ = short_attention(
        Layer(2), packing.pack(query.transpose(1, 2)).transpose(1, 2), key, value, mask, packing=packing
    )
    assert packed.shape == (1, 6, 4, 8)
    results = [
        [found, *torch.autograd.grad((found * weights).sum(), [query, key, value])]
        for found in (plain, packing.spread(packed))
    ]
    for ours, theirs in zip(*results, strict=True):
        real = weights.abs() > 0 if ours.shape == weights.shape else torch.ones_like(ours, dtype=torch.bool)
        torch.testing.assert_close(ours[real], theirs[real])


def test_only_inside_of_the_block_and_only_for_sdpa() -> None:
    model, _ = tiny_model("llama")
    config = model.config
    with short(model):
        assert config._attn_implementation == NAME
    assert config._attn_implementation == "sdpa"
    with pytest.raises(KeyError), short(model):
        raise KeyError
    assert config._attn_implementation == "sdpa"
    config._attn_implementation = "eager"
    with short(model):
        assert config._attn_implementation == "eager"
