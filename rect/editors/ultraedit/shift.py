"""UltraEdit's update from the rows of an edit (Gu et al., TMLR 2026): a ridge solve on normalized features."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

LEAST = 2.0**-23  # added to standard deviations


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and spread of rows, over all operations so far; in whichever order and parts the rows came.

    Attributes:
        count: number of rows, (,).
        mean: (n,)
        square: sum of squared deviations from the mean, (n,).
    """

    count: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Of some rows, (rows, n), in float64."""
        rows = rows.double()
        mean = rows.mean(0)
        return cls(rows.new_tensor(float(len(rows))), mean, (rows - mean).square().sum(0))

    def __add__(self, other: Moments) -> Moments:
        """Of the rows of both."""
        count, apart = self.count + other.count, other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        square = self.square + other.square + apart.square() * (self.count * other.count / count)
        return Moments(count, mean, square)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation, (n,)."""
        return (self.square / self.count).sqrt()


def shift(keys: Tensor, gradients: Tensor, mean: Tensor, deviation: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """dW = V^T (H H^T + I)^-1 H, with V = -rate |h^|^2 g^ per row.

    h^ and g^ are h and g less the mean, over the deviation. It is V^T H (H^T H + I)^-1, the ridge solution of
    H dW^T = V, by the identity that needs a matrix of rows only.

    Args:
        keys: H, inputs of the matrix, (rows, in).
        gradients: of the loss with regard to its outputs, (rows, out).
        mean, deviation: of [h, g], (in + out,).
        rate: the learning rate.

    Returns:
        V^T and (H H^T + I)^-1 H, (out, rows) and (rows, in), in float64.
    """
    h, both = keys.double(), torch.cat([keys, gradients], dim=1).double()
    normal = (both - mean.to(both)) / (deviation.to(both) + LEAST)
    h_hat, g_hat = normal.split([keys.shape[1], gradients.shape[1]], dim=1)
    values = -rate * h_hat.square().sum(1, keepdim=True) * g_hat  # (rows, out)
    inner = h @ h.T + torch.eye(len(h), dtype=h.dtype, device=h.device)
    return values.T, torch.linalg.solve(inner, h)
