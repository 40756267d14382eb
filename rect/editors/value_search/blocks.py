"""Calling a model's blocks one by one, as the model itself calls them.

What a block is called with beside the hidden states (rotary embeddings, masks) is taken down in a pass of the model's
own over one row. All rows begin at position 0, so that those arguments are the same for every row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modelfolder.errors import InputError
from rect.editors.value_search.calls import Call, beginning, cache_name, first, named
from rect.hooks import Stop, stop
from rect.model import EditableModel


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
                look = self._look(layer)
                hooks.enter_context(model.block(layer).register_forward_pre_hook(look, with_kwargs=True))
            hooks.enter_context(model.block(last).register_forward_pre_hook(stop))
            run(model, torch.tensor([list(longest)], device=model.device))

    def _look(self, layer: int) -> Any:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden, self.calls[layer] = named(block, args, kwargs)
            return (hidden[:, :1],), beginning(self.calls[layer], self.length, 1)  # nobody looks at what comes out

        return hook

    def enter(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The input of the first block for rows of tokens, (rows, positions, hidden); what is behind a row's end means
        nothing."""
        seen: list[Tensor] = []

        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(named(block, args, kwargs)[0])
            raise Stop

        steps = max(map(len, rows))
        ids = torch.tensor([[*row, *[row[-1]] * (steps - len(row))] for row in rows], device=self.model.device)
        with self.model.block(0).register_forward_pre_hook(hook, with_kwargs=True):
            run(self.model, ids)
        return seen[0]

    def run(self, hidden: Tensor, layer: int, cache: Any = None) -> Tensor:
        """The output of a block, (rows, positions, hidden).

        Args:
            hidden: its input, like the output.
            layer: which block.
            cache: stands in for the model's cache; None for none.
        """
        block = self.model.block(layer)
        call = beginning(self.calls[layer], self.length, hidden.shape[1])
        return first(block(hidden, **{**call, cache_name(block): cache}))


@torch.no_grad()
def run(model: EditableModel, ids: Tensor) -> None:
    """Run the model on rows of tokens, (rows, positions), for its hooks' sake, until one of them says stop."""
    check(model)
    with contextlib.suppress(Stop):
        model.hf.base_model(ids, use_cache=False)


def check(model: EditableModel) -> None:
    """Raises InputError for an attention that takes no masks of ours."""
    kind = model.hf.config._attn_implementation
    if kind not in ("sdpa", "eager"):
        raise InputError(f"{model.name}: attention {kind!r} cannot be edited through; load it with sdpa or eager")
