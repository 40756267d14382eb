"""What a vector added at layer L and position p of a row does not change: one forward pass, without gradients, keeps

- keys and values of the positions before p in every layer after L (and in L, where the vector is added inside of it),
- the output of block L from p on, and its input at p.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rect.editors.value_search.blocks import Blocks
from rect.editors.value_search.calls import Call
from rect.hooks import Stop
from rect.model import EditableModel
from rect.prompts import Row


class Earlier:
    """Keys and values of each row's first positions, (rows, heads, positions, head size) by layer.

    Args:
        positions: how many; what lies behind those that are wanted of a row means nothing.
    """

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}


class _Recorder:
    """Stands in for the model's cache: keeps keys and values; nothing after those of the last block is run."""

    def __init__(self, kept: Earlier, last: int | None = None) -> None:
        self.kept, self.last = kept, last

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.kept.keys[layer] = key[:, :, : self.kept.positions]
        self.kept.values[layer] = value[:, :, : self.kept.positions]
        if layer == self.last:
            raise Stop
        return key, value


@dataclasses.dataclass(frozen=True)
class Frozen:
    """What was kept.

    Attributes:
        keys: input of the MLP's output projection at p, (rows, inner size), float32.
        mlp: its output there, (rows, hidden), float32.
        block_in: input of block L at p, (rows, 1, hidden).
        block_out: output of block L from p on, (rows, steps, hidden); what lies behind a row's end means nothing.
        kept: keys and values of the positions before p.
        calls: how the blocks from L on are called, for one row of `length` positions.
    """

    keys: Tensor
    mlp: Tensor
    block_in: Tensor
    block_out: Tensor
    kept: Earlier
    calls: dict[int, Call]
    length: int


@torch.no_grad()
def freeze(model: EditableModel, rows: Sequence[Row], layer: int, last: int, from_mlp: bool) -> Frozen:
    """Run the model over some rows.

    Args:
        model: the model; only read.
        rows: the rows, each with its lookup position p.
        layer: L.
        last: the last layer that is wanted.
        from_mlp: the vector is added inside of block L, not to its output.
    """
    blocks = Blocks(model, max((row.ids for row in rows), key=len), last)
    kept = Earlier(max(1, *(row.lookup for row in rows)))  # never none, to spare a special case
    which = torch.arange(len(rows), device=model.device)[:, None]
    lookups = torch.tensor([[row.lookup] for row in rows], device=model.device)
    hidden = blocks.enter([row.ids for row in rows])
    for each in range(layer):
        hidden = blocks.run(hidden, each)
    block_in = hidden[which, lookups]
    seen: dict[str, Tensor] = {}

    def see(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen["keys"], seen["mlp"] = (states[which, lookups][:, 0].float() for states in (inputs[0], output))

    projection = model.module(model.path(model.architecture.mlp_out, layer))
    with projection.register_forward_hook(see):
        hidden = blocks.run(hidden, layer, _Recorder(kept) if from_mlp else None)
    steps = max(row.length - row.lookup for row in rows)
    positions = (lookups + torch.arange(steps, device=model.device)).clamp(max=hidden.shape[1] - 1)
    block_out = hidden[which, positions]
    hidden = hidden[:, : kept.positions]
    with contextlib.suppress(Stop):
        for each in range(layer + 1, last + 1):
            hidden = blocks.run(hidden, each, _Recorder(kept, last))
    calls = {each: blocks.calls[each] for each in range(layer, last + 1)}
    return Frozen(seen["keys"], seen["mlp"], block_in, block_out, kept, calls, blocks.length)
