"""The model's blocks, one by one over padded rows: every row's states are those of the model alone."""

from __future__ import annotations

import random

import pytest
import torch

from rect.editors.value_search.blocks import Blocks
from rect.editors.value_search.prefix_cache import Earlier, freeze
from rect.editors.value_search.rise import alike
from rect.model import EditableModel
from rect.prompts import Row
from tests.tiny import FAMILIES, tiny_model

ROWS = [(5, 6, 7, 8, 9), (5, 6, 7), (5, 6, 11, 12), (3,), (5, 6, 11, 12)]


def tiny(family: str, **overrides: object) -> EditableModel:
    return EditableModel(*tiny_model(family, **overrides))


@pytest.mark.parametrize(
    ("family", "window"),
    [
        *((family, {}) for family in (*FAMILIES, "gpt_neox", "gemma2", "gemma3_text")),
        *((family, {"sliding_window": 2}) for family in ("mistral", "gemma2", "gemma3_text")),
    ],
)
@torch.no_grad()
def test_blocks_over_rows_say_what_the_model_says(family: str, window: dict[str, int]) -> None:
    model = tiny(family, **window)
    last = model.n_layers - 1
    blocks = Blocks(model, ROWS[0], last)
    hidden = blocks.enter(ROWS)
    for layer in range(last):
        hidden = blocks.run(hidden, layer)
    for row, states in zip(ROWS, hidden, strict=True):
        expected = model.hf(torch.tensor([row]), output_hidden_states=True).hidden_states[last][0]
        torch.testing.assert_close(states[: len(row)], expected, rtol=1e-4, atol=1e-4)


def test_runs_hold_every_row_once_and_little_padding() -> None:
    draw = random.Random(0)
    for _ in range(30):
        lengths = [draw.randint(1, 20) for _ in range(draw.randint(1, 40))]
        found = alike(lengths, 60)
        assert sorted(i for run in found for i in run) == list(range(len(lengths)))
        for run in found:
            places = len(run) * max(lengths[i] for i in run)
            assert len(run) == 1 or (places <= 60 and sum(lengths[i] for i in run) >= 0.9 * places)
        assert max(lengths) in [lengths[i] for i in found[-1]]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gptj"])
@pytest.mark.parametrize("from_mlp", [True, False])
@torch.no_grad()
def test_what_is_frozen_is_what_the_model_has(family: str, from_mlp: bool) -> None:
    """Keys and values against the model's own cache, states against its hidden states."""
    model = tiny(family)
    rows = [Row(ids, max(0, len(ids) - 3)) for ids in ROWS]
    found = freeze(model, rows, 0, 1, from_mlp)
    assert isinstance(found.kept, Earlier)
    assert sorted(found.kept.keys) == ([0, 1] if from_mlp else [1])
    for i, row in enumerate(rows):
        out = model.hf(torch.tensor([row.ids]), use_cache=True, output_hidden_states=True)
        later = out.hidden_states[1][0, row.lookup :]
        torch.testing.assert_close(found.block_out[i, : len(later)], later, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.block_in[i, 0], out.hidden_states[0][0, row.lookup], rtol=1e-4, atol=1e-5)
        for layer in found.kept.keys:
            cache = out.past_key_values.layers[layer]
            for ours, theirs in ((found.kept.keys, cache.keys), (found.kept.values, cache.values)):
                torch.testing.assert_close(
                    ours[layer][i, :, : row.lookup], theirs[0, :, : row.lookup], rtol=1e-4, atol=1e-5
                )
