"""AlphaEdit (Fang et al., ICLR 2025): MEMIT's values, written where the model's own text is not.

    dW = R adj^T,   adj = (P (K K^T + H) + L2 I)^-1 P K

P projects on the null space of the covariance C of keys: eigenvectors whose eigenvalue is below a threshold (0.02 as
released), or the smallest so many percent of them. H holds the keys of earlier operations. dW (I - P) = 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pydantic

from modelfolder.errors import InputError
from rect.editors.memit import SpreadHparams
from rect.editors.memit_history import Remembering

if TYPE_CHECKING:
    from torch import Tensor

    from rect.closed_form import Prior


class AlphaEditHparams(SpreadHparams):
    """Hyperparameters of AlphaEdit, with EasyEdit's keys. Values that nobody gave are by share of directions.

    Attributes:
        L2: mu, of the update's norm.
        nullspace_share: so many percent of all directions, those with the smallest eigenvalues; or
        nullspace_threshold: all whose eigenvalue is below it. It is absolute, and eigenvalues differ by orders of
            magnitude between models: values do not carry over.
    """

    method: ClassVar[str] = "alphaedit"

    L2: float = pydantic.Field(10.0, gt=0)
    nullspace_share: float | None = pydantic.Field(None, gt=0, lt=100)
    nullspace_threshold: float | None = pydantic.Field(None, gt=0)

    @pydantic.model_validator(mode="after")
    def _one_of_two(self) -> AlphaEditHparams:
        if (self.nullspace_share is None) == (self.nullspace_threshold is None):
            raise ValueError("give either nullspace_share or nullspace_threshold")
        return self

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """MEMIT's layers, and four fifths of the directions."""
        return {**super().by_depth(n_layers), "nullspace_share": 80.0}

    @classmethod
    def skipped(cls) -> frozenset[str]:
        return super().skipped() | {"mom2_update_weight", "P_loc"}


class AlphaEdit(Remembering):
    """The AlphaEdit editor.

    Raises:
        InputError: the covariance rests on too few tokens for its small eigenvalues to mean anything, or the threshold
            leaves no direction, or all of them.
    """

    name = "alphaedit"
    version = "1"
    hparams_class: ClassVar[type[AlphaEditHparams]] = AlphaEditHparams

    hparams: AlphaEditHparams

    def __init__(self, hparams: Any, prefixes: Any, covariance: Any = None) -> None:
        super().__init__(hparams, prefixes, covariance)
        for layer in hparams.layers:
            self._directions(layer)

    def prior(self, layer: int, keys: Tensor) -> Prior:
        from rect.closed_form import Prior

        return Prior(0.0, ridge=self.hparams.L2, directions=self._directions(layer))

    def _directions(self, layer: int) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of the null space."""
        assert self.covariance is not None
        share, threshold = self.hparams.nullspace_share, self.hparams.nullspace_threshold
        of = self.covariance.of(layer)
        values, vectors = of.null_space(share, threshold)
        self._check(len(values), of.spectrum[0], layer)
        return values, vectors

    def _check(self, taken: int, every: Tensor, layer: int) -> None:
        """Raise InputError where a null space is all directions or none; their eigenvalues are ascending."""
        if 0 < taken < len(every):
            return
        threshold = self.hparams.nullspace_threshold
        which = "nullspace_share" if threshold is None else f"nullspace_threshold {threshold:g}"
        raise InputError(
            f"{self.name}: {which} takes {taken} of {len(every)} directions at layer {layer}, where eigenvalues "
            f"go from {float(every[0]):.3g} to {float(every[-1]):.3g}: give a nullspace_share, such as 80"
        )
