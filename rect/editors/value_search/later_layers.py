"""The later layers over the later positions: all that depends on the vector being optimized.

A vector added at layer L and position p of a row (the subject's last token) changes nothing before layer L, and nothing
at a position before p: attention looks back only. What does not change is computed once (`prefix_cache`), and
each optimization step runs the model's own blocks after L over the positions from p on. The numbers are those of the
full computation up to rounding. Nothing here knows a family of models: how a block is called (rotary embeddings, masks)
is taken down while the model calls it, and cut to the positions that are left.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rect.editors.value_search.calls import axis, cache_name, each, first
from rect.editors.value_search.packing import Packing, applies, packed
from rect.editors.value_search.prefix_cache import Earlier, freeze
from rect.model import EditableModel
from rect.prompts import Row


class _Join:
    """Stands in for the model's cache: puts the kept keys and values before the new ones, and keeps nothing new."""

    def __init__(self, kept: Earlier, packing: Packing | None = None) -> None:
        self.kept, self.packing = kept, packing

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._join(self.kept.keys[layer], key), self._join(self.kept.values[layer], value)

    def _join(self, kept: Tensor, new: Tensor) -> Tensor:
        if self.packing is not None:
            new = self.packing.spread(new.transpose(1, 2)).transpose(1, 2)
        return torch.cat([kept, new], 2)


class Tail:
    """Rows of tokens, frozen before the lookup position and up to the edited layer.

    Args:
        model: the model; only read.
        rows: the rows, each with its lookup position.
        layer: the edited layer L.
        last: the last layer that is wanted.
        from_mlp: the vector is added to the MLP's output projection at L (ROME), not to the block's output (MEMIT).

    Attributes:
        keys: input of the MLP's output projection at the lookup position, (rows, inner size), float32.
        mlp: its output there, (rows, hidden), float32.
        block: output of block L there, (rows, hidden), float32.
        steps: number of positions from the lookup position on, of the longest row.
    """

    def __init__(self, model: EditableModel, rows: Sequence[Row], layer: int, last: int, from_mlp: bool = True) -> None:
        self.model, self.layer, self.last, self.from_mlp = model, layer, last, from_mlp
        self.rows = list(rows)
        self.steps = max(row.length - row.lookup for row in rows)
        self._lookups = torch.tensor([row.lookup for row in rows], device=model.device)
        found = freeze(model, self.rows, layer, last, from_mlp)
        self._kept, self._block_in, self._block_out = found.kept, found.block_in, found.block_out
        self.keys, self.mlp, self.block = found.keys, found.mlp, found.block_out[:, 0].float()
        before = found.kept.positions
        cut = _Cut(self._lookups, self.steps, before, found.length, model.dtype)
        self._calls = {later: cut(call) for later, call in found.calls.items() if later > layer}
        one = _Cut(self._lookups, 1, before, found.length, model.dtype)
        self._block_call = one(found.calls[layer])
        self._pack()

    def _pack(self) -> None:
        """Where they can be packed, no padding goes through the blocks after L."""
        self._packing, self._packed = None, self._calls
        if applies(self.model.hf):
            lengths = [row.length - row.lookup for row in self.rows]
            self._packing = Packing(lengths, self.steps, self.model.device)
            pack = functools.partial(_once, {}, function=self._packing.pack)
            self._packed = {}
            for layer, call in self._calls.items():
                packed = {
                    name: value if name == "attention_mask" else each(value, pack) for name, value in call.items()
                }
                self._packed[layer] = {**packed, "packing": self._packing}

    def take(self, indices: Sequence[int]) -> None:
        """Keep only these rows."""
        chosen = list(indices)
        self.rows = [self.rows[i] for i in indices]
        for name in ("_lookups", "keys", "mlp", "block", "_block_in", "_block_out"):
            setattr(self, name, getattr(self, name)[chosen])
        for tensors in (self._kept.keys, self._kept.values):
            for layer in tensors:
                tensors[layer] = tensors[layer][chosen]
        memo: dict[int, Tensor] = {}
        keep = functools.partial(_once, memo, function=lambda tensor: tensor[chosen])
        self._calls = {layer: each(call, keep) for layer, call in self._calls.items()}
        self._block_call = each(self._block_call, keep)
        self._pack()

    def run(self, added: Tensor) -> Tensor:
        """Output of the last wanted block from the lookup position on.

        Args:
            added: the vector added at the lookup position of each row, (rows, hidden).

        Returns:
            (rows, steps, hidden); what lies behind a row's end means nothing
        """
        with packed(self.model.hf):
            return self._later(torch.cat([self._first(added), self._block_out[:, 1:]], dim=1))

    def _first(self, added: Tensor) -> Tensor:
        """Output of block L at the lookup position, (rows, 1, hidden)."""
        if not self.from_mlp:
            return self._block_out[:, :1] + added[:, None].to(self._block_out.dtype)
        module = self.model.module(self.model.path(self.model.architecture.mlp_out, self.layer))
        with module.register_forward_hook(lambda _m, _i, output: output + added[:, None].to(output.dtype)):
            return _call(self.model.block(self.layer), self._block_in, self._block_call, _Join(self._kept))

    def _later(self, hidden: Tensor) -> Tensor:
        """The blocks after L: (rows, steps, hidden) -> the same."""
        packing, cache = self._packing, _Join(self._kept, self._packing)
        hidden = hidden if packing is None else packing.pack(hidden)
        for layer in range(self.layer + 1, self.last + 1):
            hidden = _call(self.model.block(layer), hidden, self._packed[layer], cache)
        return hidden if packing is None else packing.spread(hidden)


class _Cut:
    """Cuts the arguments of a block's call, made for whole rows, to some positions of each row.

    Args:
        lookups: first position wanted, (rows,).
        steps: how many positions from there on.
        before: how many earlier positions have their keys kept.
        length: positions in the call.
        dtype: of the mask, which is added to the attention's scores.
    """

    def __init__(self, lookups: Tensor, steps: int, before: int, length: int, dtype: torch.dtype) -> None:
        device = lookups.device
        self.lookups, self.length, self.dtype = lookups, length, dtype
        self.step = torch.arange(steps, device=device)
        self.positions = (lookups[:, None] + self.step).clamp(max=length - 1)  # (rows, steps)
        earlier = torch.arange(before, device=device).expand(len(lookups), -1)
        self.seen = torch.cat([earlier.clamp(max=length - 1), self.positions], dim=1)  # (rows, before + steps)
        self.real = torch.cat([earlier < lookups[:, None], torch.ones_like(self.positions, dtype=torch.bool)], dim=1)
        self.memo: dict[Any, Tensor] = {}

    def __call__(self, call: Mapping[str, Any]) -> dict[str, Any]:
        cut = {name: self._value(name, value) for name, value in call.items()}
        return {**cut, "attention_mask": self._mask(call.get("attention_mask"))}

    def _value(self, name: str, value: Any) -> Any:
        if name == "attention_mask":
            return None
        return each(value, lambda tensor: self._positions_of(name, tensor))

    def _positions_of(self, name: str, tensor: Tensor) -> Tensor:
        over = axis(name, tensor, self.length)
        if id(tensor) not in self.memo:
            table = tensor if over == 0 else tensor[0]  # the same for every row: positions count from 0 everywhere
            self.memo[id(tensor)] = table[self.positions]  # (rows, steps, ...)
        return self.memo[id(tensor)]

    def _mask(self, mask: Tensor | None) -> Tensor:
        """(rows, 1, steps, before + steps): 0 where a position is seen, the least number elsewhere."""
        if id(mask) not in self.memo:
            if mask is None:
                table = torch.ones(self.length, self.length, dtype=torch.bool, device=self.lookups.device).tril()
            else:
                table = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] >= 0
            seen = table[self.positions[:, :, None], self.seen[:, None, :]] & self.real[:, None, :]
            later = self.step[None, :] > self.step[:, None]  # padding behind a row's end
            seen[:, :, -len(self.step) :] &= ~later
            least = torch.finfo(self.dtype).min
            added = torch.zeros(seen.shape, dtype=self.dtype, device=seen.device).masked_fill(~seen, least)
            self.memo[id(mask)] = added[:, None]
        return self.memo[id(mask)]


def _call(block: nn.Module, hidden: Tensor, call: Mapping[str, Any], cache: Any) -> Tensor:
    return first(block(hidden, **{**call, cache_name(block): cache}))


def _once(memo: dict[int, Tensor], tensor: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    if id(tensor) not in memo:
        memo[id(tensor)] = function(tensor)
    return memo[id(tensor)]
