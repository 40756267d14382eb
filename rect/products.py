"""Products with frozen float32 weights on a CPU go through oneDNN, which is faster there than torch's own choice (MKL).

    with products.fast():
        model.hf(ids)

The numbers are those of torch up to rounding, the gradient with regard to the input included. Everything else (another
dtype or device, weights that are being trained, few rows) is left to torch: the block may stand around any code.
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


def fast() -> TorchFunctionMode:
    """A context in which linear layers, and transformers' Conv1D, use oneDNN where they can."""
    _bound_memory()
    return _Fast()


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
            _product(torch.ones(ROWS, 1), torch.ones(1, 1), None)
    finally:
        for name in names:
            del os.environ[name]


class _Fast(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and not kwargs and _fits(args[0], args[1]):
            return _Product.apply(*args)
        if func is torch.addmm and not kwargs and args[1].ndim == 2 and _fits(args[1], args[2]):
            return _Product.apply(args[1], args[2].t(), args[0])
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
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(gradients[0], weight.t(), None), None, None


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return result
