"""What a block is called with beside the hidden states: rotary embeddings, masks, a cache."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import transformers
from torch import Tensor, nn

from modelfolder.errors import InputError

CACHE_NAMES = ("past_key_values", "layer_past", "past_key_value")

Call = dict[str, Any]


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
