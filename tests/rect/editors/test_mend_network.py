"""The hypernetwork: normalization, the identity at its start, sharing by shape."""

from __future__ import annotations

import torch

from rect.editors.mend.hypernetwork import Hypernetwork, Layer, Normalization

MATRICES = {"a.up": (6, 10), "a.down": (10, 6), "b.up": (6, 10), "b.down": (10, 6)}


def gradients(seed: int, tokens: int = 5) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(tokens, i, generator=generator) + 3, 1e-3 * torch.randn(tokens, o, generator=generator))
        for name, (i, o) in MATRICES.items()
    }


def network() -> Hypernetwork:
    made = Hypernetwork(MATRICES, rank=4, hidden_layers=1, edit_lr=0.5, seed=1)
    for seed in range(20):
        made.see(gradients(seed))
    return made


def test_statistics_are_those_of_all_tokens_at_once() -> None:
    x = 5 + torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    norm = Normalization(7)
    for part in (x[:1], x[1:8], x[8:8], x[8:]):
        norm.see(part)
    expected = (x - x.mean(0)) / (x.std(0) + 1e-7)
    assert torch.allclose(norm(x), expected, atol=1e-4)


def test_at_first_an_edit_is_a_step_along_the_normalized_gradient() -> None:
    made, given = network(), gradients(99)
    shared = [torch.cat([gradients(s)[name][0] for s in range(20) for name in ("a.up", "b.up")])]
    factors = made(given)
    assert list(factors) == list(MATRICES)
    x = (given["a.up"][0] - shared[0].mean(0)) / shared[0].std(0)
    assert torch.allclose(factors["a.up"][0], x, atol=1e-3)
    left, right = made.transforms["6x10"](*given["a.up"], 0)
    assert torch.allclose(factors["a.up"][0], left)
    assert torch.allclose(factors["a.up"][1], -0.5 * right)  # W - alpha * gradient: downhill


def test_a_layer_is_residual_of_low_rank_with_its_own_scale_and_shift() -> None:
    layer = Layer(9, rank=3, modes=2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    z = torch.randn(4, 9, generator=torch.Generator().manual_seed(3))
    for mode in (0, 1):
        inner = z @ (layer.u @ layer.v).T + layer.bias
        expected = z + torch.relu(inner * layer.scale[mode] + layer.shift[mode])
        assert torch.allclose(layer(z, mode), expected, atol=1e-5)
    assert torch.linalg.matrix_rank(layer.u @ layer.v) == 3
    assert Layer(2, rank=64, modes=1).v.shape == (2, 2)


def test_the_first_step_can_learn() -> None:
    made = network()
    loss = sum((a * a).sum() + (b * b).sum() for a, b in made(gradients(5)).values())
    loss.backward()
    assert made.edit_lrs.grad is not None
    assert bool((made.edit_lrs.grad != 0).all())
    assert all(bool((transform.layers[0].u.grad != 0).any()) for transform in made.transforms.values())


def test_matrices_of_one_shape_share_a_network() -> None:
    made = network()
    assert set(made.transforms) == {"6x10", "10x6"}
    assert made.modes == {"a.up": 0, "b.up": 1, "a.down": 0, "b.down": 1}
    same = {name: gradients(7)["a.up" if name.endswith("up") else "a.down"] for name in MATRICES}
    factors = made(same)
    assert torch.equal(factors["a.up"][0], factors["b.up"][0])
    with torch.no_grad():
        made.transforms["6x10"].layers[0].shift[1] += 1
    assert not torch.equal(made(same)["a.up"][0], made(same)["b.up"][0])
    assert torch.equal(made(same)["a.up"][0], factors["a.up"][0])


def test_the_seed_decides_and_nothing_else_is_drawn() -> None:
    state = torch.get_rng_state()
    one, two, other = (Hypernetwork(MATRICES, 4, 1, 0.1, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["transforms.6x10.layers.0.v"], other["transforms.6x10.layers.0.v"])
