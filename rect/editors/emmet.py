"""EMMET (Gupta, Sajnani, Anumanchipalli 2024, "A Unified Framework for Model Editing"): MEMIT under another name.

    dW = R (K^T (l C)^-1 K + e I)^-1 K^T (l C)^-1   =   R adj^T with adj = (l e C + K K^T)^-1 K

so that it is MEMIT with lambda = `mom2_update_weight` times `emmet_lambda` (Woodbury), in the papers at one layer.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import pydantic

from rect.editors.memit import Memit, MemitHparams

if TYPE_CHECKING:
    from torch import Tensor

    from rect.closed_form import Prior


class EmmetHparams(MemitHparams):
    """Hyperparameters of EMMET.

    Attributes:
        mom2_update_weight: l.
        emmet_lambda: e.
        update_norm_lambda: mu, added to l C (0 in all released files).
    """

    method: ClassVar[str] = "emmet"

    mom2_update_weight: float = pydantic.Field(1_000.0, gt=0)
    emmet_lambda: float = pydantic.Field(0.1, gt=0)
    update_norm_lambda: float = pydantic.Field(0.0, ge=0)


class Emmet(Memit):
    """The EMMET editor."""

    name = "emmet"
    version = "1"
    hparams_class = EmmetHparams

    hparams: EmmetHparams

    def prior(self, layer: int, keys: Tensor) -> Prior:
        once, epsilon = super().prior(layer, keys), self.hparams.emmet_lambda
        ridge = self.hparams.update_norm_lambda * epsilon
        return dataclasses.replace(once, weight=once.weight * epsilon, ridge=ridge)
