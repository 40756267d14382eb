"""Calling a model's blocks one by one, as the model itself calls them.

What a block is called with beside the hidden states (rotary embeddings, masks) is taken down in a pass of the model's
own. Rows are right-padded and begin at position 0, so that those arguments are the same for every row.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rect import products
from rect.errors import InputError
from rect.hooks import Stop, hooked, stop
from rect.prompts import Row

if TYPE_CHECKING:
    from rect.model import EditableModel

CACHE_NAMES = ("past_key_values", "layer_past", "past_key_value")
WASTE = 0.1

Call = dict[str, Any]


class Blocks:
    """The blocks of a model up to a layer, for rows of at most some length.

    Args:
        model: the model; only read.
        longest: the longest row of tokens that will be run.
        last: the last block that will be run.
    """

    def __init__(self, model: EditableModel, longest: Sequence[int], last: int) -> None:
        self.model, self.length, self.last = model, len(longest), last
        self._calls: dict[int, Call] = {}
        with contextlib.ExitStack() as hooks:
            for layer in range(last + 1):
                handle = model.block(layer).register_forward_pre_hook(self._look(layer), with_kwargs=True)
                hooks.enter_context(hooked(handle))
            hooks.enter_context(hooked(model.block(last).register_forward_pre_hook(stop)))
            run(model, torch.tensor([list(longest)], device=model.device))

    def _look(self, layer: int) -> Any:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            _, self._calls[layer] = named(block, args, kwargs)

        return hook

    def enter(self, ids: Tensor, layer: int) -> Tensor:
        """The input of a block for rows of tokens: (rows, positions) -> (rows, positions, hidden)."""
        seen: list[Tensor] = []

        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(named(block, args, kwargs)[0])
            raise Stop

        with hooked(self.model.block(layer).register_forward_pre_hook(hook, with_kwargs=True)):
            run(self.model, ids)
        return seen[0]

    def run(self, hidden: Tensor, layer: int) -> Tensor:
        """The output of a block: (rows, positions, hidden) -> the same."""
        call = beginning(self._calls[layer], self.length, hidden.shape[1])
        with products.fast():
            return first(self.model.block(layer)(hidden, **call))


@torch.no_grad()
def run(model: EditableModel, ids: Tensor) -> None:
    """Run the model on rows of tokens, (rows, positions), for its hooks' sake, until one of them says stop."""
    check(model)
    with contextlib.suppress(Stop), products.fast():
        model.hf.base_model(ids, use_cache=False)


def check(model: EditableModel) -> None:
    """Raises InputError for an attention that takes no masks of ours."""
    kind = model.hf.config._attn_implementation
    if kind not in ("sdpa", "eager"):
        raise InputError(f"{model.name}: attention {kind!r} cannot be edited through; load it with sdpa or eager")


def padded_ids(rows: Sequence[Row], device: torch.device) -> Tensor:
    """The tokens, padded on the right with each row's own last one, (rows, positions)."""
    length = max(row.length for row in rows)
    return torch.tensor([[*row.ids, *[row.ids[-1]] * (length - row.length)] for row in rows], device=device)


def alike(rows: Sequence[Row], tokens: int | None = None) -> list[list[int]]:
    """Indices of the rows in runs of similar length, of which padding makes up at most WASTE; the longest run last.

    Args:
        rows: the rows.
        tokens: how many positions a run may hold, padding included; None for any number.
    """
    runs: list[list[int]] = []
    real = 0
    for index in sorted(range(len(rows)), key=lambda i: -rows[i].length):
        length = rows[index].length
        if runs:
            full = rows[runs[-1][0]].length * (len(runs[-1]) + 1)
            if real + length >= (1 - WASTE) * full and (tokens is None or full <= tokens):
                runs[-1].append(index)
                real += length
                continue
        runs.append([index])
        real = length
    return runs[::-1]


def named(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    """The hidden states of a block's call, and its other arguments by name, without the cache."""
    signature = inspect.signature(block.forward)
    arguments = dict(signature.bind(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name, {})
    hidden = arguments.pop("hidden_states")
    return hidden, {name: value for name, value in arguments.items() if name not in CACHE_NAMES}


def cache_name(block: nn.Module) -> str:
    """What the block calls the cache."""
    return next(name for name in CACHE_NAMES if name in inspect.signature(block.forward).parameters)


def first(output: Any) -> Tensor:
    """The hidden states of a block's output; some families return a tuple."""
    return output[0] if isinstance(output, tuple) else output


def beginning(call: Mapping[str, Any], length: int, keep: int) -> Call:
    """A call's arguments, made for `length` positions, cut to the first `keep`."""
    if keep == length:
        return dict(call)

    def cut(name: str, tensor: Tensor) -> Tensor:
        if name == "attention_mask":
            return tensor[..., :keep, :keep]
        return tensor.narrow(axis(name, tensor, length), 0, keep)

    return {name: each(value, lambda tensor, name=name: cut(name, tensor)) for name, value in call.items()}


def axis(name: str, tensor: Tensor, length: int) -> int:
    """Which axis of a call's argument runs over positions."""
    if tensor.ndim >= 1 and tensor.shape[0] == length and name == "cache_position":
        return 0
    if tensor.ndim >= 2 and tensor.shape[1] == length and name.startswith("position_"):
        return 1
    raise RuntimeError(f"a block was called with {name} of shape {tuple(tensor.shape)}, which is not known here")


def each(value: Any, function: Any) -> Any:
    """Apply a function to every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return type(value)(each(v, function) for v in value)
    if isinstance(value, dict):
        return {k: each(v, function) for k, v in value.items()}
    return value
