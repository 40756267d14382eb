"""ENCORE (Gupta et al., EMNLP Findings 2025): MEMIT with a history, a bound on the update's norm, and earlier stopping.

    dW = R adj^T,   adj = (lambda C + H + K K^T + mu I)^-1 K

The search for a fact's vector ends as soon as all target tokens have been the most likely ones in some iterations
(`stop_when_most_probable`), which keeps the vectors small to begin with.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import pydantic

from rect.editors.memit import MemitHparams
from rect.editors.memit_history import Remembering

if TYPE_CHECKING:
    from torch import Tensor

    from rect.closed_form import Prior


class EncoreHparams(MemitHparams):
    """Hyperparameters of ENCORE.

    Attributes:
        update_norm_lambda: mu.
        stop_when_most_probable: the release's `prob_cutoff`, without its sign.
    """

    method: ClassVar[str] = "encore"
    switches: ClassVar[frozenset[str]] = MemitHparams.switches - {"stop_when_most_probable"}

    update_norm_lambda: float = pydantic.Field(10.0, ge=0)
    stop_when_most_probable: int | None = pydantic.Field(3, ge=1)


class Encore(Remembering):
    """The ENCORE editor."""

    name = "encore"
    version = "1"
    hparams_class = EncoreHparams

    hparams: EncoreHparams

    def prior(self, layer: int, keys: Tensor) -> Prior:
        return dataclasses.replace(super().prior(layer, keys), ridge=self.hparams.update_norm_lambda)
