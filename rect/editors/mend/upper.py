"""The blocks from the first edited one on: all that an edit of the last blocks can change.

What enters them is computed once per batch of rows; the gradient of an edit, and the edited model's outputs, need only
them and the head. Rows are padded on the right: in a causal model what follows a token never reaches it, so no mask is
needed and all rows share their positions.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rect.editors.mend.hypernetwork import Pair
from rect.model import EditableModel


@dataclasses.dataclass(frozen=True)
class State:
    """What enters the upper blocks.

    Attributes:
        hidden: output of the last block below, (rows, positions, hidden).
        calls: positional and keyword arguments of each block beside that, the same for all rows.
    """

    hidden: Tensor
    calls: tuple[tuple[tuple[Any, ...], Mapping[str, Any]], ...]

    def rows(self, chosen: slice) -> State:
        """Some of the rows."""
        return State(self.hidden[chosen], self.calls)


class Upper:
    """The upper blocks of a model.

    Args:
        model: only read.
        names: parameter names of the edited matrices, all of which lie in blocks.

    Attributes:
        names: as given.
        first: the first block that holds one of them.
    """

    def __init__(self, model: EditableModel, names: Sequence[str]) -> None:
        self.model, self.names = model, tuple(names)
        blocks = [model.path(model.architecture.block, layer) + "." for layer in range(model.n_layers)]
        self.first = min(i for i, block in enumerate(blocks) if any(name.startswith(block) for name in names))
        self._modules = {name: model.module(name.removesuffix(".weight")) for name in names}

    @torch.no_grad()
    def read(self, ids: Tensor) -> State:
        """Run the blocks below, (rows, positions) tokens."""
        layers = range(self.first, self.model.n_layers)
        hidden: list[Tensor] = []
        calls: list[tuple[tuple[Any, ...], Mapping[str, Any]]] = []

        def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not hidden:
                hidden.append(args[0] if args else kwargs["hidden_states"])
            named = {name: _shared(value, len(ids)) for name, value in kwargs.items() if name != "hidden_states"}
            calls.append((_shared(args[1:], len(ids)), named))

        with contextlib.ExitStack() as hooks:
            for layer in layers:
                hooks.enter_context(self.model.block(layer).register_forward_pre_hook(before, with_kwargs=True))
            self.model.hf.base_model(ids, use_cache=False)
        return State(hidden[0], tuple(calls))

    def run(self, state: State) -> Tensor:
        """Output of the last block, (rows, positions, hidden)."""
        hidden = state.hidden
        for layer, (args, kwargs) in zip(range(self.first, self.model.n_layers), state.calls, strict=True):
            output = self.model.block(layer)(hidden, *args, **kwargs)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden

    @contextlib.contextmanager
    def recorded(self) -> Iterator[Recording]:
        """Within the context inputs and outputs of the edited matrices are taken down; outputs have gradients."""
        recording = Recording({}, {})

        def hook(name: str) -> Any:
            def after(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                output = output if output.requires_grad else output.detach().requires_grad_()
                recording.inputs[name], recording.outputs[name] = inputs[0].detach(), output
                return output

            return after

        with self._hooked(hook), torch.enable_grad():
            yield recording

    def edited(self, factors: Mapping[str, Pair]) -> contextlib.AbstractContextManager[None]:
        """Within the context each matrix acts as W + dW, with dW^T = a^T b for its factors (a, b)."""

        def hook(name: str) -> Any:
            left, right = factors[name]

            def after(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                x = inputs[0].to(left.dtype)
                return output + ((x @ left.T) @ right).to(output.dtype)  # W x + sum over tokens of b (a . x)

            return after

        return self._hooked(hook)

    @contextlib.contextmanager
    def _hooked(self, hook: Any) -> Iterator[None]:
        with contextlib.ExitStack() as hooks:
            for name, module in self._modules.items():
                hooks.enter_context(module.register_forward_hook(hook(name)))
            yield


@dataclasses.dataclass
class Recording:
    """Inputs (rows, positions, in) and outputs (rows, positions, out) of the edited matrices, by name."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    def gradients(self, loss: Tensor) -> dict[str, Pair]:
        """The loss' gradient of each matrix, taken apart: W.grad = sum over tokens of delta x^T. float32.

        Tokens without a gradient (padding, and those that the loss does not depend on) are left out.
        """
        deltas = torch.autograd.grad(loss, list(self.outputs.values()))
        pairs = {}
        for (name, x), delta in zip(self.inputs.items(), deltas, strict=True):
            x, delta = x.flatten(0, 1).float(), delta.flatten(0, 1).float()  # (tokens, in), (tokens, out)
            real = (x != 0).any(-1) & (delta != 0).any(-1)
            pairs[name] = (x[real], delta[real])
        return pairs


def _shared(value: Any, rows: int) -> Any:
    """An argument without its rows, where it has some: positions and masks are the same for every row."""
    if isinstance(value, Tensor):
        return value[:1] if value.ndim >= 2 and len(value) == rows else value
    if isinstance(value, tuple):
        return tuple(_shared(part, rows) for part in value)
    return value
