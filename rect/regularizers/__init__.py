"""Regularizers: which part of an edit's update reaches the weights.

Each is a function `(update, model, k, seed) -> Update`; a new one is one function and one line in `REGULARIZERS`, with
a version, which goes up whenever its numbers change.
`k` is a percentage, in (0, 100]: the larger, the more is kept, and 100 keeps all. What it is a percentage of:

| name | k | when |
|---|---|---|
| rect, random, magnitude | elements of each matrix | operation |
| pca, pca-release | principal components of dW | operation |
| rect-feedback | elements, of dW and what was cut off before | operation |
| sphere | what is left along the principal directions of W's rows, 100 (1 - alpha) | operation |
| null-space | directions that text uses least | operation |
| simie | what a fact alone keeps of its edit at its key (100: all of it, and nothing beside the keys) | operation |
| prune | 100 / a, a the base of the logarithm: 50 is base 2, 36.79 base e | checkpoint |

All work per matrix. Masks are taken against the weights that the operation starts from. RECT is the method of Gu et
al., EMNLP 2024; random and PCA are its controls, magnitude is the one it lacks. `docs/methods.md` has the others.
"""

from __future__ import annotations

from modelfolder.errors import InputError, nearest
from rect.regularizers import feedback, null_space, prune, simie, sphere
from rect.regularizers.base import Regularizer, Weights, WithCovariance
from rect.regularizers.components import pca, pca_release
from rect.regularizers.masks import keep_top, keep_top_many, magnitude, none, random, rect, relative_change
from rect.update import Update

__all__ = [
    "REGULARIZERS",
    "Regularizer",
    "Weights",
    "WithCovariance",
    "get",
    "keep_top",
    "keep_top_many",
    "magnitude",
    "none",
    "pca",
    "pca_release",
    "random",
    "rect",
    "relative_change",
    "shares",
]

REGULARIZERS: dict[str, Regularizer] = {
    "none": Regularizer(none, "1"),
    "rect": Regularizer(rect, "1"),
    "random": Regularizer(random, "1"),
    "pca": Regularizer(pca, "1"),
    "pca-release": Regularizer(pca_release, "1"),
    "magnitude": Regularizer(magnitude, "1"),
    "rect-feedback": Regularizer(feedback.rect_feedback, "1", remembers=True),
    "sphere": Regularizer(sphere.sphere, "1"),
    "null-space": Regularizer(null_space.null_space, "1"),
    "simie": Regularizer(simie.simie, "1", remembers=True),
    "prune": Regularizer(prune.prune, "1", when="checkpoint"),
}


def get(name: str) -> Regularizer:
    """A regularizer by name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in REGULARIZERS:
        raise InputError(f"regularizer {name!r} is not known; {nearest(name, REGULARIZERS)}")
    return REGULARIZERS[name]


def shares(raw: Update, kept: Update) -> dict[str, dict[str, float]]:
    """How much of an update a regularizer left over, per matrix.

    Returns:
        Per name `share_kept`, elements that are not zero afterwards, of all; and `share_nonzero_kept`, those of them
        that were not zero before, of all that were not (1 where there were none).
    """
    result = {}
    for name in raw:
        before, after = raw.dense(name) != 0, kept.dense(name) != 0
        had, both = int(before.sum()), int((before & after.to(before.device)).sum())
        result[name] = {
            "share_kept": int(after.sum()) / after.numel(),
            "share_nonzero_kept": both / had if had else 1.0,
        }
    return result
