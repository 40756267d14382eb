"""The pretended accelerator itself: it refuses what CUDA refuses, and computes what torch computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.pretended import DEVICE, held, lacking

MIXED = "expected all tensors to be on the same device"


def here(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)


@pytest.mark.parametrize(
    "mix",
    [
        lambda a: a + torch.ones(3),
        lambda a: torch.ones(3, 3) + a,
        lambda a: a @ torch.ones(3, 3),
        lambda a: torch.cat([a, torch.ones(3, 3)]),
        lambda a: torch.stack([a[0, 0], torch.tensor(1.0)]),
        lambda a: torch.where(a > 0, a, torch.zeros(3, 3)),
        lambda a: a.add_(torch.ones(3, 3)),
        lambda a: torch.ones(3, 3).add_(a),
        lambda a: torch.tensor(1.0).add_(a[0, 0]),
        lambda a: torch.ones(3, 3)[a.argmax(0)],
        lambda a: a.index_select(0, torch.tensor([0])),
        lambda a: a.gather(0, torch.tensor([[0]])),
        lambda a: torch.nn.functional.embedding(torch.tensor(1), a),
        lambda a: a.masked_fill(torch.ones(3, 3, dtype=torch.bool), 0),
        lambda a: torch.isin(a, torch.zeros(2)),
        lambda a: torch.equal(a, torch.zeros(3, 3)),
        lambda a: torch.linalg.solve(torch.eye(3), a),
    ],
)
def test_tensors_of_two_devices_do_not_mix(mix: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(RuntimeError, match=MIXED):
        mix(here(3, 3))


@pytest.mark.parametrize(
    "mix",
    [
        lambda a: a + torch.tensor(2.0),
        lambda a: torch.tensor(2.0) * a,
        lambda a: a[torch.tensor([2, 0])],
        lambda a: a[torch.tensor([True, False, True])],
        lambda a: a.masked_fill(a > 0, torch.tensor(5.0)),
        lambda a: torch.where(a > 0, a, torch.tensor(0.0)),
        lambda a: torch.zeros(3, 3).copy_(a),
        lambda a: a.clone().copy_(torch.ones(3, 3)),
    ],
)
def test_what_cuda_takes_of_the_cpu_is_taken(mix: Callable[[Tensor], Tensor]) -> None:
    a = here(3, 3)
    assert torch.equal(mix(a).cpu(), mix(a.cpu()))


def test_indices_are_written_at_from_the_cpu() -> None:
    a = here(3, 3)
    a[torch.tensor([0, 2])] = torch.tensor(7.0)
    assert a.tolist()[0] == a.tolist()[2] == [7.0] * 3
    with pytest.raises(RuntimeError, match=MIXED):
        a[torch.tensor([0])] = torch.ones(1, 3)


def test_tensors_are_made_there_as_anywhere() -> None:
    a = here(2, 3)
    made = [
        torch.tensor([[1, 2]], device=DEVICE),
        torch.arange(3, device=a.device),
        torch.zeros(2, dtype=torch.float64, device=DEVICE),
        torch.eye(2, device=DEVICE),
        torch.linspace(0, 1, 5, device=DEVICE),
        torch.zeros_like(a),
        a.new_ones(2),
        a.double(),
        a.T[0],
        torch.tril(torch.ones(3, 3, device=DEVICE)),
        torch.tensor([1.0]).to(a),
    ]
    assert {str(one.device) for one in made} == {"pretended:0"}
    assert torch.zeros_like(a, device="cpu").device == a.cpu().device == torch.device("cpu")
    assert type(a.cpu()) is Tensor
    with pytest.raises((RuntimeError, TypeError)):
        a.numpy()


def test_a_view_shares_its_elements() -> None:
    a = here(3, 3)
    a[1].zero_()
    a.T[0, :] += 1
    expected = here(3, 3).cpu()
    expected[1] = 0
    expected[:, 0] += 1
    assert torch.equal(a.cpu(), expected)


def test_a_module_moves_there_learns_there_and_comes_back() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 4)
    x = torch.randn(5, 4)
    layer(x).square().sum().backward()
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    layer.to(DEVICE)
    assert isinstance(layer.weight, torch.nn.Parameter)
    layer(x.to(DEVICE)).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad.cpu(), expected)
    torch.optim.Adam(layer.parameters(), lr=0.1).step()
    moved = layer.weight.detach().cpu()
    assert torch.equal(layer.to("cpu").weight, moved)
    assert type(layer.weight) is torch.nn.Parameter
    with pytest.raises(RuntimeError, match=MIXED):
        layer.to(DEVICE)(x)


def test_shared_parameters_stay_shared() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model[1].weight = model[0].weight
    parameter = model[0].weight
    model.to(DEVICE)
    assert model[1].weight is model[0].weight is parameter
    assert parameter.device.type == DEVICE


def test_a_module_there_is_rounded_to_another_dtype() -> None:
    layer = torch.nn.Linear(4, 4).to(DEVICE)
    wide = layer.weight.detach().cpu()
    assert torch.equal(layer.half().weight.detach().cpu(), wide.half())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_are_rounded_otherwise_and_right(dtype: torch.dtype) -> None:
    a, b = (torch.randn(64, 64, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1))
    a, b = a.to(dtype), b.to(dtype)
    x, y = a.to(DEVICE), b.to(DEVICE)
    for there, mine in ((x @ y, a @ b), (torch.addmm(x, x, y), torch.addmm(a, a, b))):
        torch.testing.assert_close(there.cpu(), mine)
        if dtype != torch.bfloat16:  # made in float32, and mostly rounded to the same
            assert not torch.equal(there.cpu(), mine)


@torch.inference_mode()
def test_in_inference_mode_it_is_as_strict_and_rounds_as_otherwise() -> None:
    a = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    there = a.to(DEVICE, torch.float32)
    assert there.to(device=DEVICE).to(torch.float64).device.type == DEVICE
    assert torch.equal(there.to("cpu"), a)
    assert not torch.equal((there @ there).cpu(), a @ a)
    with pytest.raises(RuntimeError, match=MIXED):
        torch.nn.functional.linear(there, a)


def test_free_signs_are_others() -> None:
    a = here(4, 4)
    a = a @ a.T
    (values, vectors), (mine, others) = torch.linalg.eigh(a), torch.linalg.eigh(a.cpu())
    torch.testing.assert_close(values.cpu(), mine)
    assert torch.equal(vectors.cpu(), -others)
    u, s, v = torch.linalg.svd(a)
    torch.testing.assert_close((u * s) @ v, a)
    assert torch.equal(u.cpu(), -torch.linalg.svd(a.cpu())[0])
    q, r = torch.linalg.qr(a)
    torch.testing.assert_close(q @ r, a)


def test_random_numbers_are_others_and_generators_are_its_own() -> None:
    torch.manual_seed(0)
    there = torch.randn(4, device=DEVICE)
    torch.manual_seed(0)
    assert not torch.equal(there.cpu(), torch.randn(4))
    for draw in (
        lambda draw: torch.randn(4, device=DEVICE, generator=draw),
        lambda draw: torch.multinomial(here(4).abs(), 1, generator=draw),
    ):
        with pytest.raises(RuntimeError, match="generator"):
            draw(torch.Generator())


def test_a_dtype_may_be_missing() -> None:
    with lacking(torch.float64):
        with pytest.raises(TypeError, match=r"pretended has no torch\.float64"):
            here(3).double()
        with pytest.raises(TypeError, match=r"pretended has no torch\.float64"):
            torch.zeros(3, dtype=torch.float64, device=DEVICE)
        torch.testing.assert_close((here(3, 3) @ here(3, 3)).cpu(), here(3, 3).cpu() @ here(3, 3).cpu())
    assert here(3).double().dtype == torch.float64


def test_what_lies_there_is_counted_until_it_is_collected() -> None:
    before = held()
    a = here(100)
    view = a[:10]
    assert held() == before + 400
    del a
    assert held() == before + 400
    del view
    assert held() == before


def test_a_shape_is_changed_in_place() -> None:
    a = here(2, 3)
    a.t_()
    assert a.shape == (3, 2)
    assert torch.equal((a + 0).cpu(), here(2, 3).cpu().T)
