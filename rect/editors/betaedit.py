"""BetaEdit (2605.09285, IJCAI 2026): AlphaEdit whose null space makes room for what was edited, now and then.

    dW = R adj^T,   adj = (P (K K^T + H + lambda C) + mu I)^-1 P K

P projects on the null space of C, and after every so many facts on that of (H / facts + lambda C) / (lambda + 1), H of
the facts until then. C stays in the solve. (The release, lbq8942/BetaEdit, `algs/betaedit/betaedit_main.py`, besides
ends a run when |dW| / sqrt(facts) is above 20; here an update is an update.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import pydantic

from rect.editors.alphaedit import AlphaEdit, AlphaEditHparams

if TYPE_CHECKING:
    from torch import Tensor

    from rect.closed_form import Prior
    from rect.history import History


class BetaEditHparams(AlphaEditHparams):
    """Hyperparameters of BetaEdit.

    Attributes:
        mom2_update_weight: lambda (`lambda1` of the release).
        L2: mu (`lambda2`).
        refresh_every: facts after which P is found anew (`P_freq`).
    """

    method: ClassVar[str] = "betaedit"

    mom2_update_weight: float = pydantic.Field(3_000.0, gt=0)
    refresh_every: int = pydantic.Field(1_000, ge=1)

    @classmethod
    def skipped(cls) -> frozenset[str]:
        return super().skipped() - {"mom2_update_weight"}


class BetaEdit(AlphaEdit):
    """The BetaEdit editor."""

    name = "betaedit"
    version = "1"
    hparams_class = BetaEditHparams

    hparams: BetaEditHparams

    def adjusted(self, layer: int, name: str, keys: Tensor, history: History) -> Tensor:
        from rect import closed_form

        past = history.past(name, len(keys))
        seen = refreshed([len(part) for part in history.keys(name)], self.hparams.refresh_every)
        prior = self._prior(layer, None if past is None else past[:, :seen])
        return closed_form.adjusted(keys, prior, None if past is None else past.to(keys))

    def _prior(self, layer: int, seen: Tensor | None) -> Prior:
        """With P of C, or of C and the keys (in, facts) of the facts that the last refreshing saw."""
        import torch

        from rect.closed_form import Prior
        from rect.selection import count

        weight, ridge = self.hparams.mom2_update_weight, self.hparams.L2
        if seen is None or not seen.shape[1]:
            return Prior(weight, ridge=ridge, directions=self._directions(layer))
        assert self.covariance is not None
        c = self.covariance.matrix(layer).double().to(seen)
        values, vectors = torch.linalg.eigh((seen @ seen.T / seen.shape[1] + weight * c) / (weight + 1))
        share, threshold = self.hparams.nullspace_share, self.hparams.nullspace_threshold
        first = int((values < threshold).sum()) if threshold is not None else count(share or 0, len(values))
        self._check(first, values, layer)
        u = vectors[:, :first]
        return Prior(weight, ridge=ridge, directions=(u.T @ c @ u, u))


def refreshed(sizes: Sequence[int], every: int) -> int:
    """How many facts the null space of the present operation knows of.

    Args:
        sizes: facts of each earlier operation.
        every: it is found anew before an operation, when at least so many facts were edited since it last was.
    """
    known = edited = 0
    for size in sizes:
        edited += size
        if edited - known >= every:
            known = edited
    return known
