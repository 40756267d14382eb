"""The later layers over the later positions: all that depends on the vector being optimized.

A vector added at layer L and position p of a row (the subject's last token) changes nothing before layer L, and nothing
at a position before p: attention looks back only. So one forward pass, without gradients, keeps

- keys and values of the positions before p in every layer after L,
- the output of block L from p on (and its input at p),

and each optimization step runs the model's own blocks after L over the positions from p on. The numbers are those of
the full computation up to rounding. Nothing here knows a family of models: how a block is called (rotary embeddings,
masks) is taken down while the model calls it, and cut to the positions that are left.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rect.attention import Packing, applies, short
from rect.editors.blocks import alike, axis, beginning, cache_name, each, first, named, padded_ids, run
from rect.hooks import hooked, stop
from rect.prompts import Row

if TYPE_CHECKING:
    from rect.model import EditableModel


class _Keep:
    """Stands in for the model's cache: keeps keys and values, (rows, heads, positions, head size) by layer."""

    def __init__(self) -> None:
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys[layer], self.values[layer] = key, value
        return key, value


class _Join:
    """Stands in for the model's cache: puts the kept keys and values before the new ones, and keeps nothing new."""

    def __init__(self, kept: _Keep, packing: Packing | None = None) -> None:
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
        self._kept = _Keep()
        self._freeze()

    # The pass that is made once

    def _freeze(self) -> None:
        runs = alike(self.rows)
        parts = [_Part(self, [self.rows[i] for i in indices]) for indices in runs]
        for part in parts:
            part.run()
        order = torch.tensor([i for indices in runs for i in indices], device=self.model.device)
        back = order.argsort()
        before = max(part.before for part in parts)
        for layer in parts[0].kept.keys:
            for mine, name in ((self._kept.keys, "keys"), (self._kept.values, "values")):
                pieces = [_padded(getattr(part.kept, name)[layer][:, :, : part.before], 2, before) for part in parts]
                mine[layer] = torch.cat(pieces)[back]
        self.keys = torch.cat([part.key for part in parts])[back]
        self.mlp = torch.cat([part.mlp for part in parts])[back]
        self._block_in = torch.cat([part.block_in for part in parts])[back]
        self._block_out = torch.cat([part.block_out for part in parts])[back]
        self.block = self._block_out[:, 0].float()
        longest = parts[-1]  # its calls hold the tables of all positions
        cut = _Cut(self._lookups, self.steps, before, longest.length, self.model.dtype)
        self._calls = {layer: cut(call) for layer, call in longest.calls.items() if layer > self.layer}
        one = _Cut(self._lookups, 1, before, longest.length, self.model.dtype)
        self._block_call = one(longest.calls[self.layer])
        self._pack()

    def _pack(self) -> None:
        """Where attention allows it, no padding goes through the blocks after L."""
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
        chosen = torch.tensor(list(indices), device=self.model.device)
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

    # The pass of each step

    def run(self, added: Tensor) -> Tensor:
        """Output of the last wanted block from the lookup position on.

        Args:
            added: the vector added at the lookup position of each row, (rows, hidden).

        Returns:
            (rows, steps, hidden); what lies behind a row's end means nothing
        """
        with short(self.model.hf):
            return self._later(torch.cat([self._first(added), self._block_out[:, 1:]], dim=1))

    def _first(self, added: Tensor) -> Tensor:
        """Output of block L at the lookup position, (rows, 1, hidden)."""
        if not self.from_mlp:
            return self._block_out[:, :1] + added[:, None].to(self._block_out.dtype)
        module = self.model.module(self.model.path(self.model.architecture.mlp_out, self.layer))
        with hooked(module.register_forward_hook(lambda _m, _i, output: output + added[:, None].to(output.dtype))):
            return _call(self.model.block(self.layer), self._block_in, self._block_call, _Join(self._kept))

    def _later(self, hidden: Tensor) -> Tensor:
        """The blocks after L: (rows, steps, hidden) -> the same."""
        packing, cache = self._packing, _Join(self._kept, self._packing)
        hidden = hidden if packing is None else packing.pack(hidden)
        for layer in range(self.layer + 1, self.last + 1):
            hidden = _call(self.model.block(layer), hidden, self._packed[layer], cache)
        return hidden if packing is None else packing.spread(hidden)


class _Part:
    """One forward pass over rows of similar length, right-padded: what follows a token never reaches it."""

    def __init__(self, tail: Tail, rows: Sequence[Row]) -> None:
        self.tail = tail
        self.lookups = torch.tensor([row.lookup for row in rows], device=tail.model.device)
        self.length = max(row.length for row in rows)
        self.before = max(1, max(row.lookup for row in rows))  # positions kept; never none, to spare a special case
        self.ids = padded_ids(rows, tail.model.device)
        self.calls: dict[int, dict[str, Any]] = {}
        self.kept = _Keep()

    def run(self) -> None:
        tail, model = self.tail, self.tail.model
        keep_from = tail.layer if tail.from_mlp else tail.layer + 1
        with contextlib.ExitStack() as hooks:
            projection = model.module(model.path(model.architecture.mlp_out, tail.layer))
            hooks.enter_context(hooked(projection.register_forward_hook(self._see_projection)))
            hooks.enter_context(hooked(model.block(tail.layer).register_forward_hook(self._see_block)))
            for layer in range(tail.layer, tail.last + 1):
                handle = model.block(layer).register_forward_pre_hook(self._before(layer, keep_from), with_kwargs=True)
                hooks.enter_context(hooked(handle))
            hooks.enter_context(hooked(model.block(tail.last).register_forward_hook(stop)))
            run(model, self.ids)

    def _before(self, layer: int, keep_from: int) -> Any:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden, call = named(block, args, kwargs)
            self.calls[layer] = call
            if layer == self.tail.layer:
                self.block_in = _at(hidden, self.lookups)[:, None]
            else:  # later positions are run again in each step
                hidden, call = hidden[:, : self.before], beginning(call, self.length, self.before)
            return (hidden,), ({**call, cache_name(block): self.kept} if layer >= keep_from else call)

        return hook

    def _see_projection(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.key = _at(inputs[0], self.lookups).float()
        self.mlp = _at(output, self.lookups).float()

    def _see_block(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        hidden = first(output)
        positions = self.lookups[:, None] + torch.arange(self.tail.steps, device=hidden.device)
        positions = positions.clamp(max=self.length - 1)[:, :, None].expand(-1, -1, hidden.shape[-1])
        self.block_out = hidden.gather(1, positions)  # (rows, steps, hidden)


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


def _at(hidden: Tensor, positions: Tensor) -> Tensor:
    """(rows, positions, n) at one position of each row: (rows, n)"""
    return hidden[torch.arange(len(positions), device=hidden.device), positions]


def _padded(tensor: Tensor, axis: int, size: int) -> Tensor:
    missing = size - tensor.shape[axis]
    if missing == 0:
        return tensor
    shape = list(tensor.shape)
    shape[axis] = missing
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=axis)
