"""Products with frozen float32 weights on a CPU go through oneDNN, which is faster there than torch's own choice (MKL).

    with products.fast():
        model.hf(ids)

The numbers are those of torch up to rounding, the gradient with regard to the input included. Everything else (another
dtype or device, weights that are being trained, few rows) is left to torch: the block may stand around any code.

oneDNN puts a weight into an order of its own before each product. Where the same weights meet few rows many times,
`fast(keep=bytes)` keeps them in that order until the block ends, up to so many bytes.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ROWS = 16  # with fewer rows torch is as fast
KEPT = 64  # shapes; one optimization has about 20


def fast(keep: int = 0) -> TorchFunctionMode:
    """A context in which linear layers, and transformers' Conv1D, use oneDNN where they can.

    Args:
        keep: how many bytes of weights may be kept in oneDNN's order until the block ends: those that come first, once
            for the product and once for its gradient. Weights must not change in such a block.
    """
    _bound_memory()
    return _Fast(_Ordered(keep))


@functools.cache
def _bound_memory() -> None:
    """Have oneDNN keep the code of few shapes: it takes 0.6 MB for each, and would keep 1,024 of them.

    Both caches read their capacity once, at the first product of the process, from the environment; what a user has set
    there is left, and processes that are started later find nothing of it.
    """
    names = [name for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY") if name not in os.environ]
    try:
        os.environ.update(dict.fromkeys(names, str(KEPT)))
        if torch.backends.mkldnn.is_available():
            _product(torch.ones(ROWS, 1), torch.ones(1, 1), None, _Ordered(0))
    finally:
        for name in names:
            del os.environ[name]


class _Ordered:
    """Weights in oneDNN's order.

    Args:
        room: bytes that may be kept.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._kept: dict[Any, tuple[Tensor, Tensor]] = {}  # with the weight, that its memory is not another's meanwhile

    def of(self, weight: Tensor, rows: int) -> Tensor:
        """The weight as it is kept, if it is or there is room for it, or as it came; for products with so many rows."""
        key = (weight.data_ptr(), weight.shape, weight.stride())
        if key not in self._kept and weight.nbytes <= self.room:
            self.room -= weight.nbytes
            ordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
            self._kept[key] = weight, ordered
        return self._kept[key][1] if key in self._kept else weight


class _Fast(TorchFunctionMode):
    def __init__(self, ordered: _Ordered) -> None:
        super().__init__()
        self.ordered = ordered

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and not kwargs and _fits(args[0], args[1]):
            return _Product.apply(args[0], args[1], args[2] if len(args) > 2 else None, self.ordered)
        if func is torch.addmm and not kwargs and args[1].ndim == 2 and _fits(args[1], args[2]):
            return _Product.apply(args[1], args[2].t(), args[0], self.ordered)
        return func(*args, **(kwargs or {}))


def _fits(inputs: Tensor, weight: Tensor) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype == inputs.dtype == torch.float32
        and not weight.requires_grad
        and inputs.numel() >= ROWS * inputs.shape[-1]
        and torch.backends.mkldnn.is_available()
    )


class _Product(torch.autograd.Function):
    """inputs @ weight^T + bias, (..., in) x (out, in) -> (..., out); only `inputs` has a gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, ordered: _Ordered) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.ordered = ordered
        return _product(inputs, weight, bias, ordered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(gradients[0], weight.t(), None, ctx.ordered), None, None, None


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None, ordered: _Ordered) -> Tensor:
    weight = ordered.of(weight, inputs.numel() // inputs.shape[-1])
    result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return result
