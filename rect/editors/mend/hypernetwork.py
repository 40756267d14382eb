"""The hypernetwork of MEND: from the factors of a gradient to those of an edit (Mitchell et al. 2022, section 3).

The gradient of a weight for one token is an outer product of the layer's input x and the gradient delta of its output.
For each shape of edited matrices one network g maps normalized pairs to pairs, shared by all matrices of that shape but
for a learned scale and shift of each (eq. 3):

    z = normalized [x, delta];    layer l:  z <- z + relu(s_l * (U_l V_l z + b_l) + o_l);    [x', delta'] = z

U starts at 0, so g starts as the identity. With a learned step size alpha per matrix the edit is, summed over tokens,

    dW = -alpha * sum of delta' x'^T
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]
"""Inputs (tokens, in) and gradients of the outputs (tokens, out) of one matrix."""


class Normalization(nn.Module):
    """Mean and standard deviation of each element, over all tokens seen.

    Args:
        size: elements.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("squares", torch.zeros(size))  # sum of squared distances from the mean

    @torch.no_grad()
    def see(self, x: Tensor) -> None:
        """Take more tokens in, (tokens, size) (Chan et al. 1979: the parallel form of Welford's algorithm)."""
        n = len(x)
        if n == 0:
            return
        mean, total = x.mean(0), self.count + n
        shift = mean - self.mean
        weight = (self.count * n / total).to(x.dtype)
        self.squares += ((x - mean) ** 2).sum(0) + shift**2 * weight
        self.mean += shift * (n / total).to(x.dtype)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        std = (self.squares / (self.count - 1).clamp(min=1).to(x.dtype)).sqrt()
        return (x - self.mean) / (std + 1e-7)


class Layer(nn.Module):
    """A residual layer of low rank; matrix `mode` of the shape has its own scale and shift.

    Args:
        size: elements in and out.
        rank: of the weight.
        modes: number of matrices of this shape.
    """

    def __init__(self, size: int, rank: int, modes: int) -> None:
        super().__init__()
        rank = min(rank, size)
        self.u = nn.Parameter(torch.zeros(size, rank))
        self.v = nn.Parameter(torch.randn(rank, size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.ones(modes, size))
        self.shift = nn.Parameter(torch.zeros(modes, size))

    def forward(self, z: Tensor, mode: int) -> Tensor:
        inner = (z @ self.v.T) @ self.u.T + self.bias  # (tokens, size)
        return z + (inner * self.scale[mode] + self.shift[mode]).clamp(min=0)  # unlike relu, clamp has a gradient at 0


class Transform(nn.Module):
    """The network of one shape.

    Args:
        inputs, outputs: sizes of the matrices.
        rank, hidden_layers: of the network.
        modes: number of matrices of this shape.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, hidden_layers: int, modes: int) -> None:
        super().__init__()
        self.sizes = (inputs, outputs)
        self.normalize_x = Normalization(inputs)
        self.normalize_delta = Normalization(outputs)
        size = inputs + outputs
        self.layers = nn.ModuleList(Layer(size, rank, modes) for _ in range(hidden_layers + 1))

    def see(self, x: Tensor, delta: Tensor) -> None:
        """Take tokens into the normalization."""
        self.normalize_x.see(x)
        self.normalize_delta.see(delta)

    def forward(self, x: Tensor, delta: Tensor, mode: int) -> Pair:
        z = torch.cat([self.normalize_x(x), self.normalize_delta(delta)], -1)  # (tokens, inputs + outputs)
        for layer in self.layers:
            z = layer(z, mode)
        left, right = z.split(self.sizes, -1)
        return left, right


class Hypernetwork(nn.Module):
    """One network per shape, one step size per matrix.

    Args:
        matrices: (in, out) of each edited matrix, by parameter name.
        rank, hidden_layers: of the networks.
        edit_lr: the step sizes' start.
        seed: of the initial values.
    """

    def __init__(
        self, matrices: Mapping[str, tuple[int, int]], rank: int, hidden_layers: int, edit_lr: float, seed: int = 0
    ) -> None:
        super().__init__()
        self.matrices = dict(matrices)
        self.rank, self.hidden_layers = rank, hidden_layers
        groups: dict[tuple[int, int], list[str]] = {}
        for name, shape in self.matrices.items():
            groups.setdefault(shape, []).append(name)
        self.modes = {name: names.index(name) for names in groups.values() for name in names}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.transforms = nn.ModuleDict(
                {_key(shape): Transform(*shape, rank, hidden_layers, len(names)) for shape, names in groups.items()}
            )
        self.edit_lrs = nn.Parameter(torch.full((len(self.matrices),), edit_lr))

    def see(self, gradients: Mapping[str, Pair]) -> None:
        """Take the gradients of some edits into the normalization."""
        for name, (x, delta) in gradients.items():
            transform = self.transforms[_key(self.matrices[name])]
            assert isinstance(transform, Transform)
            transform.see(x, delta)

    def forward(self, gradients: Mapping[str, Pair]) -> dict[str, Pair]:
        """The edit's factors of each matrix: a (tokens, in) and b (tokens, out) with dW^T = a^T b."""
        factors = {}
        for rate, (name, (x, delta)) in zip(self.edit_lrs, gradients.items(), strict=True):
            left, right = self.transforms[_key(self.matrices[name])](x, delta, self.modes[name])
            factors[name] = (left, -rate * right)
        return factors


def _key(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"
