"""Products through oneDNN: the same numbers and gradients as torch's, and torch where they do not fit."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rect import products

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch is built without oneDNN")


def tensors(*shape: int, inner: int = 24, outer: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(*shape, inner, requires_grad=True), torch.randn(outer, inner), torch.randn(outer)


def went_fast(output: Tensor) -> bool:
    return type(output.grad_fn).__name__ == "_ProductBackward"


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(64,), (4, 16), (2, 3, 16)])
def test_a_linear_layer_and_its_gradient_are_those_of_torch(shape: tuple[int, ...], with_bias: bool) -> None:
    inputs, weight, bias = tensors(*shape)
    bias_or_none = bias if with_bias else None
    expected = F.linear(inputs, weight, bias_or_none)
    (wanted,) = torch.autograd.grad(expected.square().sum(), inputs)
    with products.fast():
        found = F.linear(inputs, weight, bias_or_none)
        (gradient,) = torch.autograd.grad(found.square().sum(), inputs)
    assert went_fast(found)
    assert not went_fast(expected)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)


def test_conv1d_of_transformers_too() -> None:
    from transformers.pytorch_utils import Conv1D

    layer = Conv1D(40, 24).requires_grad_(False)
    inputs, _, _ = tensors(4, 16)
    expected = layer(inputs)
    (wanted,) = torch.autograd.grad(expected.square().sum(), inputs)
    with products.fast():
        found = layer(inputs)
        (gradient,) = torch.autograd.grad(found.square().sum(), inputs)
    assert found.grad_fn.next_functions[0][0].name() == "_ProductBackward"  # below the view of Conv1D
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)


def test_strided_tensors() -> None:
    inputs, _, bias = tensors(16, 4)
    turned, strided = inputs.transpose(0, 1), torch.randn(24, 40).t()
    with products.fast():
        found = F.linear(turned, strided, bias)
    torch.testing.assert_close(found, F.linear(turned, strided, bias))


@pytest.mark.parametrize("keep", [0, 24 * 40 * 4, 2**20], ids=["none", "the first", "all"])
def test_weights_in_their_own_order_give_the_same(keep: int) -> None:
    inputs, weight, bias = tensors(64)
    second = torch.randn(40, 24).t()
    results = []
    for mode in (contextlib.nullcontext(), products.fast(keep=keep)):
        with mode:
            for rows in (64, 20):  # an order that was chosen for other rows
                output = F.linear(F.linear(inputs[:rows], weight, bias), second)
                results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for expected, found in zip(results[:2], results[2:], strict=True):
        assert went_fast(found[0])
        torch.testing.assert_close(found, expected)
    assert isinstance(mode, products._Fast)
    assert mode.ordered.room == (2**20 - 4 * weight.nbytes if keep == 2**20 else 0)  # two weights, each both ways


def test_what_does_not_fit_is_left_to_torch() -> None:
    inputs, weight, bias = tensors(64)
    with products.fast():
        assert not went_fast(F.linear(inputs[:1], weight, bias))
        assert not went_fast(F.linear(inputs.double(), weight.double()))
        assert not went_fast(F.linear(inputs.bfloat16(), weight.bfloat16()))
        trained = weight.clone().requires_grad_()
        F.linear(inputs, trained).sum().backward()
    assert trained.grad is not None
    assert not went_fast(F.linear(inputs, weight, bias)), "outside of the block"


MANY_SHAPES = """
import ctypes, os, torch
from rect import products
def resident():
    ctypes.CDLL(None).malloc_trim(0)
    return int(open("/proc/self/statm").read().split()[1]) * 4096
torch.set_num_threads(1)
weight = torch.randn(576, 576)
with products.fast(), torch.no_grad():
    for rows in range(40, 500):
        torch.nn.functional.linear(torch.randn(rows, 576), weight)
        if rows == 140:
            before = resident()
print(resident() - before, "LRU_CACHE_CAPACITY" in os.environ)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read as Linux gives it")
def test_memory_does_not_grow_with_the_number_of_shapes() -> None:
    run = subprocess.run([sys.executable, "-c", MANY_SHAPES], capture_output=True, text=True, check=True)
    grown, set_for_others = run.stdout.split()
    assert int(grown) < 40e6  # without a bound 0.2 GB
    assert set_for_others == "False"
