"""Regularizers: which part of an edit's update reaches the weights.

Each is a function `(update, model, k, seed) -> Update` in a module here; a new one is one function and one line in
`REGULARIZERS`, with a version, which goes up whenever its numbers change. The module is imported when it is first used.
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

Those of operations that remember nothing can be asked for at checkpoints too, `rect@checkpoint`: then they take what
all edits made together, against the unedited weights; `prune@operation` restrains after each one.

All work per matrix. Masks are taken against the weights that the operation starts from. RECT is the method of Gu et
al., EMNLP 2024; random and PCA are its controls, magnitude is the one it lacks. `docs/methods.md` has the others.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from modelfolder.errors import InputError, nearest

if TYPE_CHECKING:
    from rect.history import History
    from rect.regularizers.base import Weights, WithCovariance, at_checkpoint
    from rect.regularizers.components import pca, pca_release
    from rect.regularizers.masks import keep_top, magnitude, none, random, rect, relative_change, shares
    from rect.update import Update

_HOMES = {
    **dict.fromkeys(("Weights", "WithCovariance", "at_checkpoint"), "base"),
    **dict.fromkeys(("pca", "pca_release"), "components"),
    **dict.fromkeys(("keep_top", "magnitude", "none", "random", "rect", "relative_change", "shares"), "masks"),
}

__all__ = sorted(("REGULARIZERS", "Regularizer", "called", "get", *_HOMES))


When = Literal["operation", "checkpoint"]


@dataclass(frozen=True)
class Regularizer:
    """A regularizer as it is called, and the version that ids are made of.

    Attributes:
        function: "module:function" in this package, `(update, model, k=100, seed=0) -> Update`, with `history=` besides
            where it `remembers`.
        version: other masks, another version.
        when: as published, of each `operation`'s update, or at a `checkpoint` of all that the operations before it
            made together.
        remembers: it depends on earlier operations.
    """

    function: str
    version: str
    when: When = "operation"
    remembers: bool = False

    def __call__(
        self, update: Update, model: Weights, k: float = 100, seed: int = 0, history: History | None = None
    ) -> Update:
        module, _, name = self.function.partition(":")
        function = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        more: dict[str, Any] = {"history": history} if self.remembers else {}
        return function(update, model, k=k, seed=seed, **more)


WHEN: tuple[When, ...] = get_args(When)

REGULARIZERS: dict[str, Regularizer] = {
    "none": Regularizer("masks:none", "1"),
    "rect": Regularizer("masks:rect", "1"),
    "random": Regularizer("masks:random", "1"),
    "pca": Regularizer("components:pca", "1"),
    "pca-release": Regularizer("components:pca_release", "1"),
    "magnitude": Regularizer("masks:magnitude", "1"),
    "rect-feedback": Regularizer("feedback:rect_feedback", "1", remembers=True),
    "sphere": Regularizer("sphere:sphere", "1"),
    "null-space": Regularizer("null_space:null_space", "1"),
    "simie": Regularizer("simie:simie", "1", remembers=True),
    "prune": Regularizer("prune:prune", "1", when="checkpoint"),
}


def get(name: str) -> Regularizer:
    """A regularizer by name, or by name and time, as `called` has it.

    Raises:
        InputError: there is none of this name, or it cannot be asked for then.
    """
    plain, _, when = name.partition("@")
    if plain not in REGULARIZERS:
        raise InputError(f"regularizer {name!r} is not known; {nearest(name, REGULARIZERS)}")
    found = REGULARIZERS[plain]
    time = next((one for one in WHEN if one == when), None)
    if when and time is None:
        raise InputError(f"regularizer {name!r}: {when!r} is no time; there are {' and '.join(WHEN)}")
    if when == "checkpoint" and found.remembers:
        raise InputError(f"{plain} at checkpoints: it is made of what each operation left, and has to see each one")
    return replace(found, when=time) if time else found


def called(name: str, when: str | None = None) -> str:
    """What a regularizer is called that is asked for at some time: as published by its name, else "rect@checkpoint".

    Raises:
        InputError: as `get`.
    """
    asked = get(f"{name}@{when}") if when else get(name)
    return name if asked == get(name) or name == "none" else f"{name}@{when}"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
