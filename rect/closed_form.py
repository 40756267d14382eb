"""The closed form that MEMIT and its kin share; each method is a setting of it.

With the keys K of an operation (in, facts), what their values lack R (out, facts), the covariance C of keys, the keys
K_p of earlier operations in H = K_p K_p^T, and a projector P = U U^T,

    dW = R adj^T,   adj = (P (K K^T + H + lambda C) + mu I)^-1 P K        (in, facts)

| | P | H | lambda | mu |
|---|---|---|---|---|
| MEMIT (Meng et al. 2023, eq. 14) | I | 0 | yes | 0 |
| MEMIT with history (Wang et al., ICML 2026) | I | yes | yes | 0 |
| ENCORE (Gupta et al., EMNLP Findings 2025) | I | yes | yes | yes |
| AlphaEdit (Fang et al., ICLR 2025) | null space of C | yes | 0 | yes |
| BetaEdit (IJCAI 2026) | null space of H and C, refreshed | yes | yes | yes |
| EvoEdit (ACL Findings 2026) | null space of C without earlier keys | 0 | 0 | yes |
| EMMET (Gupta, Sajnani, Anumanchipalli 2024) | I | 0 | lambda times epsilon | 0 |

adj lies in the range of P, so that it is U y with (U^T (K K^T + H + lambda C) U + mu I) y = U^T K: symmetric, and as
small as the null space. All is in float64; H is never written out while facts are fewer than half the dimensions.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rect.update import UpdateError

if TYPE_CHECKING:
    from rect.key_covariance import OfLayer


@dataclasses.dataclass(frozen=True)
class Prior:
    """lambda C + mu I: what keeps dW small, and where.

    Attributes:
        weight: lambda.
        ridge: mu.
        covariance: C; None for the identity times `scale`.
        scale: of the identity that stands for C.
        directions: U (in, r), orthonormal columns that P projects on, behind U^T C U: its diagonal (r,) where U are
            eigenvectors of C, else the matrix (r, r); None for P = I.
    """

    weight: float
    ridge: float = 0.0
    covariance: OfLayer | None = None
    scale: float | Tensor = 1.0
    directions: tuple[Tensor, Tensor] | None = None

    def solve(self, right: Tensor) -> Tensor:
        """(lambda C + mu I)^-1 right, in the coordinates of `directions` if there are any: (n, facts) -> the same."""
        if self.directions is not None:
            if self.directions[0].ndim == 2:
                return torch.linalg.solve(self.matrix(right), right)
            return right / self._diagonal(right)[:, None]
        if self.covariance is None:
            return right / (self.weight * self.scale + self.ridge)
        return self.covariance.solve(right, self.ridge / self.weight) / self.weight

    def matrix(self, like: Tensor) -> Tensor:
        """lambda C + mu I written out, (n, n), in the dtype and on the device of `like`, (n, facts)."""
        if self.directions is not None:
            if self.directions[0].ndim == 2:
                return self.weight * self.directions[0].to(like) + self.ridge * _identity(like.T)
            return self._diagonal(like).diag()
        identity = torch.eye(len(like), dtype=like.dtype, device=like.device)
        if self.covariance is None:
            return (self.weight * self.scale + self.ridge) * identity
        matrix = self.weight * self.covariance.matrix.to(like)
        return matrix + self.ridge * identity if self.ridge else matrix

    def _diagonal(self, like: Tensor) -> Tensor:
        assert self.directions is not None
        return self.weight * self.directions[0].to(like) + self.ridge


def adjusted(keys: Tensor, prior: Prior, past: Tensor | None = None) -> Tensor:
    """adj, by the Woodbury identity where there are fewer facts than half the dimensions.

    Args:
        keys: K, (in, facts), float64.
        prior: lambda C + mu I, and P.
        past: K_p, (in, earlier facts), float64; None for H = 0.

    Returns:
        (in, facts), float64

    Raises:
        UpdateError: the matrix cannot be factored.
    """
    if prior.directions is None:
        return _adjusted(keys, prior, past)
    u = prior.directions[1].to(keys)  # (in, r)
    return u @ _adjusted(u.T @ keys, prior, None if past is None else u.T @ past)


def _adjusted(keys: Tensor, prior: Prior, past: Tensor | None) -> Tensor:
    dimension, facts = keys.shape
    total = facts + (0 if past is None else past.shape[1])
    plain = prior.covariance is None and prior.directions is None and past is None  # nothing to be factored
    if total < dimension / 2 or plain:
        return _woodbury(keys, prior, past)
    matrix = prior.matrix(keys) + keys @ keys.T
    if past is not None:
        matrix += past @ past.T
    factor, info = torch.linalg.cholesky_ex(matrix)
    if info:
        raise UpdateError("lambda C + mu I + H + K K^T cannot be factored: C or the keys are broken")
    return torch.cholesky_solve(keys, factor)


def _woodbury(keys: Tensor, prior: Prior, past: Tensor | None) -> Tensor:
    """First X = (lambda C + mu I + H)^-1 K, then X (I + K^T X)^-1."""
    x = prior.solve(keys)
    if past is not None:
        y = prior.solve(past)
        x = x - y @ torch.linalg.solve(_identity(past) + past.T @ y, past.T @ x)
    inner = _identity(keys) + keys.T @ x
    return torch.linalg.solve(inner.T, x.T).T


def _identity(like: Tensor) -> Tensor:
    """Of as many dimensions as `like` has columns."""
    return torch.eye(like.shape[1], dtype=like.dtype, device=like.device)
