"""Calling a model's blocks one by one, as the model itself calls them.

What a block is called with beside the hidden states (rotary embeddings, masks) is taken down in a pass of the model's
own over one row. All rows begin at position 0, so that those arguments are the same for every row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modelfolder.errors import InputError
from rect import products
from rect.editors.value_search.attention import short
from rect.editors.value_search.calls import Call, beginning, cache_name, first, named
from rect.editors.value_search.layouts import Layout
from rect.hooks import Stop, hooked, stop

if TYPE_CHECKING:
    from rect.model import EditableModel


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
