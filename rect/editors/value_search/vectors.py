"""Vectors z of some facts as they are kept: found once, on the unedited model, and read by every operation after."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from rect.editors.value_search.search import Value
    from rect.facts import Fact


@dataclasses.dataclass(frozen=True)
class Vectors:
    """What a search found.

    Attributes:
        z: (facts, hidden), float32.
        losses: per fact the loss of each iteration.
    """

    z: Tensor
    losses: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, values: Sequence[Value]) -> Vectors:
        import torch

        return cls(torch.stack([value.target for value in values]), tuple(value.losses for value in values))

    def to_bytes(self, sought: Mapping[str, Any] | None = None) -> bytes:
        """As a safetensors file, which says of which facts and how they were sought."""
        import safetensors.torch

        tensors = {"z": self.z.detach().cpu().contiguous()}
        about = {"losses": json.dumps(self.losses), "sought": json.dumps(sought)}
        return bytes(safetensors.torch.save(tensors, metadata=about))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Vectors:
        """Read what `to_bytes` wrote.

        Raises:
            InputError: it is something else; the line begins with `where`.
        """
        import safetensors
        import safetensors.torch

        try:
            z = safetensors.torch.load(data)["z"]
            losses = tuple(tuple(one) for one in json.loads(_about(data)["losses"]))
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: these are no vectors ({error}); remove the file, and they are found anew"
            ) from None
        return cls(z, losses)

    @staticmethod
    def sought(data: bytes) -> dict[str, Any] | None:
        """What `to_bytes` was told of them; None where that cannot be read, or an earlier version wrote the file."""
        try:
            return json.loads(_about(data)["sought"])
        except (KeyError, TypeError, ValueError):
            return None


def _about(data: bytes) -> Mapping[str, str]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


Keeper = Callable[[Mapping[str, Any], Sequence["Fact"], Callable[[], Vectors]], Vectors]
"""(what the search depends on, the facts, how to find their vectors) -> the vectors."""


def found_now(about: Mapping[str, Any], facts: Sequence[Fact], find: Callable[[], Vectors]) -> Vectors:
    """Keeps nothing."""
    return find()
