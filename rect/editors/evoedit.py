"""EvoEdit (2510.13851, ACL Findings 2026): AlphaEdit without a history, whose null space shrinks by every key.

    dW = R adj^T,   adj = P K (K^T P K + mu I)^-1;   afterwards  P <- P - P K (K^T P K)^-1 K^T P

so that what was edited is not touched again: P K_p = 0, and dW K_p = 0. (The release, Euphoria040201/RLSEdit,
`EvoEdit/EvoEdit_main.py`, leaves an operation out whose |P K| is below 1e-3, or whose residual is below 0.01.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rect.editors.alphaedit import AlphaEdit, AlphaEditHparams

if TYPE_CHECKING:
    from torch import Tensor

    from rect.history import History

RELATIVE = 1e-10
"""Keys whose part in P is smaller than this, of the largest one, take no direction of it."""


class EvoEditHparams(AlphaEditHparams):
    """Hyperparameters of EvoEdit: AlphaEdit's."""

    method: ClassVar[str] = "evoedit"


class EvoEdit(AlphaEdit):
    """The EvoEdit editor."""

    name = "evoedit"
    version = "1"
    hparams_class = EvoEditHparams

    def adjusted(self, layer: int, name: str, keys: Tensor, history: History) -> Tensor:
        from rect.closed_form import Prior, adjusted

        u = self._directions(layer)[1].to(keys)  # (in, r)
        left, past = u.T @ keys, history.past(name, len(keys))
        if past is not None:
            left = without(left, u.T @ past.to(keys))
        return u @ adjusted(left, Prior(0.0, ridge=self.hparams.L2))


def without(vectors: Tensor, others: Tensor) -> Tensor:
    """The part of some vectors, (n, a), that is at right angles to others, (n, b)."""
    import torch

    u, s, _ = torch.linalg.svd(others, full_matrices=False)
    u = u[:, s > RELATIVE * s.max()]
    return vectors - u @ (u.T @ vectors)
