"""What rounding explains of the difference of two checkpoints that are kept in different dtypes.

Three things look alike element by element: a checkpoint that was rounded before or after it was edited, one that was
made from the rounded one as it lies there, and a small edit. They are told apart over the whole model: the explanation
that holds for most elements is taken. Where a parameter is the same to the bit, nothing was rounded, and the difference
is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]

LOWER = (torch.float16, torch.bfloat16)
SAMPLE = 65_536
"""Elements of a parameter that are looked at, spread evenly."""


class Explanation(NamedTuple):
    """How one checkpoint may have come from the other.

    Attributes:
        words: what was done, for the log; "" where nothing was.
        holds: (old, new) -> per element whether that is all that happened to it.
    """

    words: str
    holds: Callable[[Tensor, Tensor], Tensor]


def _exact(old: Tensor, new: Tensor) -> Tensor:
    return old == new  # in the dtype that holds both


EXACT = Explanation("", _exact)


def explanations(old: torch.dtype, new: torch.dtype) -> list[Explanation]:
    """What may have happened between two dtypes, the simpler first.

    Where both are the same, the edited one may have been rounded to a lower one on its way.
    """
    found = [EXACT]
    if old == new:
        lower = [kind for kind in LOWER if kind != new and _bits(kind) <= _bits(new)]
        return [*found, *(Explanation(f"the base was rounded to {_name(kind)}", _rounded((kind,))) for kind in lower)]
    for chain in [*((kind,) for kind in (new, old)), *((a, b) for a in LOWER for b in LOWER if a != b)]:
        words = " and then ".join(_name(kind) for kind in chain)
        if chain[-1] == new and _bits(new) <= _bits(old):
            found.append(Explanation(f"the base was rounded to {words}", _rounded(chain)))
        if chain[-1] == old and _bits(old) <= _bits(new):
            found.append(
                Explanation(f"what was edited was rounded to {words} in the base", _rounded(chain, reverse=True))
            )
    if {old, new} == set(LOWER):
        found.append(Explanation("both were rounded from the same weights", _overlap))
    return found


def explanation(pairs: Iterable[Pair]) -> Explanation:
    """The one of a model's parameters that have one pair of dtypes: (old, new) of each.

    Within one dtype rounding has to explain most of the model, or nothing was rounded.
    """
    held: dict[str, int] = {}
    known: dict[str, Explanation] = {}
    least = 0.0
    for old, new in pairs:
        old, new = _sample(old), _sample(new)
        telling = ~torch.isin(new.double().abs(), torch.tensor([0.0, 1.0], dtype=torch.float64, device=new.device))
        if bool(_exact(old, new).all()) and new.unique().numel() > 2:
            return EXACT
        least += float(telling.sum()) / 2 if old.dtype == new.dtype else 0
        for one in explanations(old.dtype, new.dtype):
            known[one.words] = one
            held[one.words] = held.get(one.words, 0) + int((one.holds(old, new) & telling).sum())
    if not known:
        return EXACT
    most = max(held, key=lambda words: held[words])  # the first of equals
    return EXACT if held[EXACT.words] * 2 >= held[most] or held[most] < least else known[most]


def _rounded(chain: tuple[torch.dtype, ...], reverse: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """Whether the one is the other as rounded along the chain: the new the old, or in reverse."""

    def holds(old: Tensor, new: Tensor) -> Tensor:
        old, new = (new, old) if reverse else (old, new)
        for kind in chain:
            old = old.to(kind)
        return _exact(old, new)

    return holds


def _overlap(old: Tensor, new: Tensor) -> Tensor:
    """Whether a number exists that rounds to both: they are no further apart than half a step of each."""
    return (old.double() - new.double()).abs() <= (_step(old) + _step(new)) / 2


def _step(values: Tensor) -> Tensor:
    """The distance of a value to the next in its dtype, at its magnitude."""
    kind = torch.finfo(values.dtype)
    exponent = torch.frexp(values.float().abs().clamp_min(kind.tiny)).exponent - 1
    return torch.ldexp(torch.full_like(values, kind.eps, dtype=torch.float64), exponent)


def _sample(values: Tensor) -> Tensor:
    flat = values.flatten()
    return flat[:: -(-flat.numel() // SAMPLE)] if flat.numel() > SAMPLE else flat


def _bits(kind: torch.dtype) -> int:
    return torch.finfo(kind).bits


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
