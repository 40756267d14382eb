"""Rows that share their beginnings: each computed once, and every row's states those of the model alone."""

from __future__ import annotations

import random

import pytest
import torch

from rect.editors.value_search.attention import applies
from rect.editors.value_search.blocks import Blocks
from rect.editors.value_search.layouts import Padded, Shared, layout, padded_ids, runs
from rect.editors.value_search.prefix_cache import Kept, freeze
from rect.model import EditableModel
from rect.prompts import Row
from tests.tiny import FAMILIES, tiny_model

ROWS = [(5, 6, 7, 8, 9), (5, 6, 7), (5, 6, 11, 12), (3,), (5, 6, 11, 12)]
ENDS = torch.tensor([[len(row) - 1] for row in ROWS])


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
    rows = layout(model, ROWS)
    assert type(rows) is (Shared if applies(model.hf) else Padded)
    blocks = Blocks(model, ROWS[0], last)
    hidden = rows.pack(blocks.enter(padded_ids(ROWS, model.device)))
    for layer in range(last):
        hidden = blocks.run(hidden, layer, rows)
    for row, states in zip(ROWS, rows.spread(hidden), strict=True):
        expected = model.hf(torch.tensor([row]), output_hidden_states=True).hidden_states[last][0]
        torch.testing.assert_close(states[: len(row)], expected, rtol=1e-4, atol=1e-4)


def test_each_beginning_lies_once() -> None:
    draw = random.Random(0)
    for _ in range(30):
        rows = [[draw.randint(0, 2) for _ in range(draw.randint(1, 6))] for _ in range(draw.randint(1, 8))]
        beginnings = {tuple(row[: i + 1]) for row in rows for i in range(len(row))}
        shared = Shared(rows, torch.device("cpu"), torch.float32)
        ids = padded_ids(rows, torch.device("cpu"))
        lying = shared.pack(ids[:, :, None])
        assert lying.shape == (1, len(beginnings), 1)
        for row, back in zip(rows, shared.spread(lying)[:, :, 0].tolist(), strict=True):
            assert back[: len(row)] == row
        ends = torch.tensor([[len(row) - 1] for row in rows])
        assert shared.at(lying, ends)[:, 0, 0].tolist() == [row[-1] for row in rows]


@pytest.mark.parametrize("kind", ["padded", "shared"])
def test_parts_hold_what_the_whole_holds(kind: str) -> None:
    device = torch.device("cpu")
    rows = Padded(ROWS, device) if kind == "padded" else Shared(ROWS, device, torch.float32)
    lying = rows.pack(padded_ids(ROWS, device)[:, :, None])
    part, held = rows.part(lying, [2, 0, 3], [3, 4, 1])
    assert part.rows == [(5, 6, 11), (5, 6, 7, 8), (3,)]
    for row, back in zip(part.rows, part.spread(held)[:, :, 0].tolist(), strict=True):
        assert tuple(back[: len(row)]) == row


@pytest.mark.parametrize("family", ["llama", "gptj"])
def test_runs_hold_every_row_once(family: str) -> None:
    model = tiny(family)
    found = runs(model, ROWS, 8)
    assert sorted(i for run in found for i in run) == list(range(len(ROWS)))
    assert all(len(run) == 1 or len(run) * max(len(ROWS[i]) for i in run) <= 8 for run in found)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gptj"])
@pytest.mark.parametrize("from_mlp", [True, False])
@torch.no_grad()
def test_what_is_frozen_is_what_the_model_has(family: str, from_mlp: bool) -> None:
    """Keys and values against the model's own cache, states against its hidden states."""
    model = tiny(family)
    rows = [Row(ids, max(0, len(ids) - 3)) for ids in ROWS]
    found = freeze(model, rows, 0, 1, from_mlp)
    assert isinstance(found.kept, Kept)
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
