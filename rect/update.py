"""What an edit does to the weights: a read-only mapping {parameter name: dW}.

dW lies in the weight's own orientation as stored, (out, in) for `nn.Linear` and (in, out) for GPT-2's Conv1D, and is
either dense or a product of two thin factors. An update can be added up, saved with where it came from, and applied.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from modelfolder import whole_files
from modelfolder.errors import InputError
from rect.checkpoints import Source

FORMAT = "rect-update/1"
WITH_MEMORY = "rect-update/2"


class UpdateError(ValueError):
    """An update that must not reach the weights: it holds NaN or infinity."""


@dataclasses.dataclass(frozen=True, eq=False)
class LowRank:
    """dW = left @ right, with left (rows, r) and right (r, cols)."""

    left: Tensor
    right: Tensor

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[0]:
            raise ValueError(f"factors do not fit: {tuple(self.left.shape)} and {tuple(self.right.shape)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, cols)"""
        return (self.left.shape[0], self.right.shape[1])

    @property
    def rank(self) -> int:
        """Number of columns of `left`: an upper bound of the matrix' rank."""
        return self.left.shape[1]

    def dense(self) -> Tensor:
        """The matrix (rows, cols) in float32."""
        return self.left.float() @ self.right.float()

    def is_finite(self) -> bool:
        """Whether no element is NaN or infinite; the product is looked at only where it could overflow."""
        if self.rank == 0:
            return True
        bound = float(self.left.abs().max()) * float(self.right.abs().max()) * self.rank
        return bound < 1e38 or (math.isfinite(bound) and bool(torch.isfinite(self.dense()).all()))


@dataclasses.dataclass(frozen=True, eq=False)
class Dense:
    """dW written out, (rows, cols); biases and norms (n,) are allowed too."""

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, cols)"""
        return tuple(self.matrix.shape)

    @property
    def rank(self) -> int:
        """The largest rank that a matrix of this shape can have."""
        return min(self.shape)

    def dense(self) -> Tensor:
        """The matrix (rows, cols) in float32."""
        return self.matrix.float()

    def is_finite(self) -> bool:
        """Whether no element is NaN or infinite."""
        return all(math.isfinite(extreme) for extreme in torch.aminmax(self.matrix))  # NaN is passed on by both


def product(left: Tensor, right: Tensor) -> LowRank | Dense:
    """dW = left @ right in whichever form is smaller, (rows, r) and (r, cols): factors, or the matrix in float32."""
    factors = LowRank(left, right)
    return factors if thin(factors.rank, factors.shape) else Dense(factors.dense())


def outer(outputs: Tensor, inputs: Tensor, transposed: bool) -> LowRank | Dense:
    """dW = outputs inputs^T of factors (out, r) and (in, r), for a weight that is stored (in, out) if `transposed`."""
    return product(inputs, outputs.T) if transposed else product(outputs, inputs.T)


def thin(rank: int, shape: Sequence[int]) -> bool:
    """Whether factors of a rank are smaller than their product, a matrix of that shape."""
    return rank * sum(shape) < math.prod(shape)


class Update(Mapping[str, LowRank | Dense]):
    """Read-only mapping from Hugging Face parameter names to dW.

    Args:
        entries: dW per parameter name.
        provenance: where it comes from, JSON-able; goes along into the saved file's header.
        memory: what later operations will ask of this one (`rect.history`): tensors by parameter name and part, such as
            `keys` (facts, in); goes along into the saved file.
    """

    def __init__(
        self,
        entries: Mapping[str, LowRank | Dense],
        provenance: Mapping[str, Any] | None = None,
        memory: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        self._entries = dict(entries)
        self.provenance: dict[str, Any] = dict(provenance or {})
        self.memory: dict[str, dict[str, Tensor]] = {name: dict(parts) for name, parts in (memory or {}).items()}

    def __getitem__(self, name: str) -> LowRank | Dense:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        parts = [f"{name}: {type(e).__name__}{e.shape} rank {e.rank}" for name, e in self._entries.items()]
        return f"Update({', '.join(parts)})"

    def dense(self, name: str) -> Tensor:
        """dW of one parameter, written out in float32."""
        return self._entries[name].dense()

    def __add__(self, other: Update) -> Update:
        """The update that does both. Factors are put side by side while that is smaller than the matrix.

        It has no memory: it is no operation of a sequence.
        """
        if not isinstance(other, Update):
            return NotImplemented
        total = dict(self._entries)
        for name, entry in other.items():
            total[name] = _sum(name, total[name], entry) if name in total else entry
        return Update(total, {"sum": [self.provenance, other.provenance]})

    def check_finite(self) -> None:
        """Raises UpdateError, naming the matrix, where an element is NaN or infinite."""
        for name, entry in self._entries.items():
            if not entry.is_finite():
                raise UpdateError(f"the update of {name} holds NaN or infinity")

    def to_bytes(self) -> bytes:
        """The safetensors file's content; provenance as JSON in its header."""
        tensors: dict[str, Tensor] = {}
        written: set[int] = set()
        written_out = {name: vars(entry) for name, entry in self._entries.items()}
        for name, named in [*written_out.items(), *((f"memory/{name}", m) for name, m in self.memory.items())]:
            for part, tensor in named.items():
                whole = tensor.detach().cpu().contiguous()
                memory = whole.untyped_storage().data_ptr()
                # The format has no shared memory, as of a factor that several matrices have in common.
                tensors[f"{name}/{part}"] = whole.clone() if memory in written else whole
                written.add(memory)
        # One key: the order of several is random in the file.
        version = WITH_MEMORY if self.memory else FORMAT
        header = json.dumps({"format": version, "provenance": self.provenance}, sort_keys=True)
        return safetensors.torch.save(tensors, metadata={"rect": header})

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "update") -> Update:
        """The opposite of `to_bytes`. `source` is what errors call the data.

        Raises:
            InputError: it is not an update.
        """
        try:
            tensors = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise InputError(f"{source}: not a safetensors file ({error})") from None
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length]).get("__metadata__", {}).get("rect", "{}"))
        if header.get("format") not in (FORMAT, WITH_MEMORY):
            raise InputError(f"{source}: not a saved update (its header does not say {FORMAT!r})")
        parts: dict[str, dict[str, Tensor]] = {}
        memory: dict[str, dict[str, Tensor]] = {}
        for key in sorted(tensors):
            name, _, part = key.rpartition("/")
            whose = memory if name.startswith("memory/") else parts
            whose.setdefault(name.removeprefix("memory/"), {})[part] = tensors[key]
        entries = {name: LowRank(**p) if "left" in p else Dense(**p) for name, p in parts.items()}
        return cls(entries, header["provenance"], memory)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all."""
        whole_files.write(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Update:
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or not an update.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot read the update ({error.strerror})") from None
        return cls.from_bytes(data, str(path))

    @classmethod
    def between(cls, base: Source, edited: Source) -> Update:
        """What leads from one checkpoint to another, however the second was made. Equal parameters are left out.

        Args:
            base, edited: a model folder, an `EditableModel`, or a mapping from parameter names to tensors.

        Raises:
            InputError: the two are not checkpoints of one model (other names or shapes).
        """
        from rect.checkpoints import differences

        paths = [str(one)[:200] for one in (base, edited) if isinstance(one, (str, os.PathLike))]
        provenance = {"difference": paths if len(paths) == 2 else "tensors"}
        return cls({name: Dense(delta) for name, delta in differences(base, edited)}, provenance)


def _sum(name: str, a: LowRank | Dense, b: LowRank | Dense) -> LowRank | Dense:
    if a.shape != b.shape:
        raise ValueError(f"{name}: cannot add updates of shapes {a.shape} and {b.shape}")
    if isinstance(a, LowRank) and isinstance(b, LowRank):
        return product(torch.cat([a.left, b.left.to(a.left)], dim=1), torch.cat([a.right, b.right.to(a.right)], dim=0))
    return Dense(a.dense() + b.dense().to(a.dense().device))
