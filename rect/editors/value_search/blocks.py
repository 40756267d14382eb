"""Calling a model's blocks one by one, as the model itself calls them.

What a block is called with beside the hidden states (rotary embeddings, masks) is taken down in a pass of the model's
own over one row. All rows begin at position 0, so that those arguments are the same for every row.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn

from modelfolder.errors import InputError
from rect import products
from rect.editors.value_search.attention import short
from rect.hooks import Stop, hooked, stop

if TYPE_CHECKING:
    from rect.editors.value_search.layouts import Layout
    from rect.model import EditableModel

CACHE_NAMES = ("past_key_values", "layer_past", "past_key_value")
WASTE = 0.1

Call = dict[str, Any]


class Spread:
    """Stands in for the model's cache: brings keys and values to whole rows for attention, and keeps nothing."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._spread(key), self._spread(value)

    def _spread(self, tensor: Tensor) -> Tensor:
        return self.layout.spread(tensor.transpose(1, 2)).transpose(1, 2)


class Blocks:
    """The blocks of a model up to a layer, for rows of at most some length.

    Args:
        model: the model; only read.
        longest: the longest row of tokens that will be run.
        last: the last block that will be run.
    """

    def __init__(self, model: EditableModel, longest: Sequence[int], last: int) -> None:
        self.model, self.length, self.last = model, len(longest), last
        self.calls: dict[int, Call] = {}
        with contextlib.ExitStack() as hooks:
            for layer in range(last + 1):
                handle = model.block(layer).register_forward_pre_hook(self._look(layer), with_kwargs=True)
                hooks.enter_context(hooked(handle))
            hooks.enter_context(hooked(model.block(last).register_forward_pre_hook(stop)))
            run(model, torch.tensor([list(longest)], device=model.device))

    def _look(self, layer: int) -> Any:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden, self.calls[layer] = named(block, args, kwargs)
            return (hidden[:, :1],), beginning(self.calls[layer], self.length, 1)  # nobody looks at what comes out

        return hook

    def enter(self, ids: Tensor) -> Tensor:
        """The input of the first block for rows of tokens: (rows, positions) -> (rows, positions, hidden)."""
        seen: list[Tensor] = []

        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(named(block, args, kwargs)[0])
            raise Stop

        with hooked(self.model.block(0).register_forward_pre_hook(hook, with_kwargs=True)):
            run(self.model, ids)
        return seen[0]

    def run(self, hidden: Tensor, layer: int, layout: Layout, cache: Any = None) -> Tensor:
        """The output of a block, which lies as `hidden` does.

        Args:
            hidden: its input.
            layer: which block.
            layout: how it lies.
            cache: stands in for the model's cache; None for one that keeps nothing.
        """
        block = self.model.block(layer)
        call = layout.arguments(self.calls[layer], self.length)
        with products.fast(), short(self.model.hf):
            return first(block(hidden, **{**call, cache_name(block): Spread(layout) if cache is None else cache}))


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


def alike(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices of rows in runs of similar length, of which padding makes up at most WASTE; the longest run last.

    Args:
        lengths: of the rows.
        tokens: how many positions a run may hold, padding included.
    """
    runs: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if runs:
            full = lengths[runs[-1][0]] * (len(runs[-1]) + 1)
            if real + lengths[index] >= (1 - WASTE) * full and full <= tokens:
                runs[-1].append(index)
                real += lengths[index]
                continue
        runs.append([index])
        real = lengths[index]
    return runs[::-1]


def named(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    """The hidden states of a block's call, and its other arguments by name, without the cache."""
    signature = inspect.signature(block.forward)
    try:
        arguments = dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise unknown(block, f"another signature than it is called by ({error})") from None
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name, {})
    if "hidden_states" not in arguments:
        raise unknown(block, f"a call with {', '.join(arguments) or 'nothing'}, without hidden_states")
    hidden = arguments.pop("hidden_states")
    return hidden, {name: value for name, value in arguments.items() if name not in CACHE_NAMES}


def cache_name(block: nn.Module) -> str:
    """What the block calls the cache.

    Raises:
        InputError: by none of the names that are known here.
    """
    parameters = inspect.signature(block.forward).parameters
    if found := [name for name in CACHE_NAMES if name in parameters]:
        return found[0]
    raise unknown(block, f"no parameter for the cache among {', '.join(parameters)}")


def unknown(block: nn.Module | None, what: str) -> InputError:
    """The error for a block that is not called as the blocks are that this was written for."""
    kind = "a block" if block is None else type(block).__name__
    return InputError(
        f"{kind} of transformers {transformers.__version__} has {what}, which is not known here: editing runs the "
        f"model's blocks one by one; install the version in requirements/, or report this one"
    )


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
    raise unknown(None, f"an argument {name} of shape {tuple(tensor.shape)} in its call")


def each(value: Any, function: Any) -> Any:
    """Apply a function to every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return type(value)(each(v, function) for v in value)
    if isinstance(value, dict):
        return {k: each(v, function) for k, v in value.items()}
    return value
