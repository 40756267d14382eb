"""MEMIT that remembers: earlier operations' keys stand in the solve beside this one's.

    dW = R adj^T,   adj = (lambda C + H + K K^T)^-1 K,   H = sum of K_p K_p^T over the operations before

so that an edit leaves the earlier ones' keys alone. On fixed keys operations one after the other give what one
operation on all facts gives. It is the baseline MEMIT_seq of AlphaEdit's repository, and what Wang et al. (ICML 2026,
"The Labyrinth and the Thread") hold against RECT; RLSEdit (2601.15686) is the same update written as a recursion.
"""

from __future__ import annotations

from typing import Any, ClassVar

from modelfolder.errors import InputError
from rect.editors.memit import Memit, MemitHparams


class MemitHistoryHparams(MemitHparams):
    """Hyperparameters of MEMIT, and its values."""

    method: ClassVar[str] = "memit-history"
    ours: ClassVar[str | None] = "memit"


class Remembering(Memit):
    """What methods with a history of keys have in common: they need the covariance, for it stays as it is.

    Raises:
        InputError: mom2_adjustment is false. C would be another in each operation.
    """

    remembers = True

    def __init__(self, hparams: Any, prefixes: Any, covariance: Any = None) -> None:
        if not hparams.mom2_adjustment:
            raise InputError(f"{self.name}: mom2_adjustment: must be true: a history needs the covariance of keys")
        super().__init__(hparams, prefixes, covariance)


class MemitHistory(Remembering):
    """MEMIT with the keys of earlier operations in its solve."""

    name = "memit-history"
    version = "1"
    hparams_class = MemitHistoryHparams
