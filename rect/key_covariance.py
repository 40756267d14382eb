"""C, the covariance of keys of some layers, and what is asked of it: its factors and its spectrum, each found once.

How C is collected is `rect.covariance`.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from modelfolder import whole_files
from modelfolder.errors import InputError
from rect.model import EditableModel
from rect.recipe import PER_DIMENSION
from rect.selection import count


class OfLayer:
    """C of one layer.

    Args:
        matrix: C, (dimension, dimension), symmetric.
        layer: the layer.
        tokens: how many tokens it is the mean of.
    """

    def __init__(self, matrix: Tensor, layer: int, tokens: int) -> None:
        self.matrix, self.layer, self.tokens = matrix, layer, tokens
        self._factors: dict[float, Tensor] = {}

    def solve(self, right: Tensor, ridge: float = 0.0) -> Tensor:
        """(C + ridge I)^-1 right, in float64. The Cholesky factor is computed once and kept.

        Args:
            right: (dimension, n)
            ridge: what is added to the diagonal.

        Raises:
            InputError: the matrix is singular: too few tokens.
        """
        if ridge not in self._factors:
            matrix = self.matrix.to(right.device, torch.float64)
            if ridge:
                matrix = matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
            factor, info = torch.linalg.cholesky_ex(matrix)
            if info:
                raise InputError(
                    f"the covariance of layer {self.layer} is singular: {self.tokens} tokens are too few for "
                    f"{len(factor)} dimensions (about {PER_DIMENSION} per dimension are wanted)"
                )
            self._factors[ridge] = factor
        return torch.cholesky_solve(right.double(), self._factors[ridge].to(right.device))

    @functools.cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of C, ascending, (dimension,), and eigenvectors in columns, (dimension, dimension), float64."""
        values, vectors = torch.linalg.eigh(self.matrix.double())
        return values, vectors

    def null_space(self, share: float | None = None, threshold: float | None = None) -> tuple[Tensor, Tensor]:
        """The directions that the model's text hardly uses: eigenvectors of C with the smallest eigenvalues.

        Args:
            share: so many percent of all directions; or
            threshold: all whose eigenvalue is below it.

        Returns:
            Their eigenvalues, (r,), and the directions in columns, (dimension, r), in float64.

        Raises:
            InputError: C rests on too few tokens: the smallest eigenvalues are the worst known ones. Of Gaussian keys
                the half of the directions that holds least of the text at hand holds 1.2 to 1.4 times as much of new
                text with 10 tokens per dimension, twice as much with 2, and nearly five times as much with 1.
        """
        values, vectors = self.spectrum
        dimension = len(values)
        if self.tokens < PER_DIMENSION * dimension:
            raise InputError(
                f"a null space of the keys of layer {self.layer} needs at least {PER_DIMENSION} tokens per dimension, "
                f"{PER_DIMENSION * dimension:,}, in the covariance; it rests on {self.tokens:,}: ask for "
                f"so many (tokens under covariance: in a sweep, --tokens of sweeps covariance)"
            )
        first = int((values < threshold).sum()) if threshold is not None else count(share or 0, dimension)
        return values[:first], vectors[:, :first]


class Covariance:
    """C of some layers.

    Args:
        matrices: C by layer, (dimension, dimension), symmetric.
        tokens: how many tokens they are the mean of.
        identity: what they were computed from, as JSON.

    Attributes:
        layers: the layers, ascending.
        tokens, identity: as given.
    """

    def __init__(self, matrices: Mapping[int, Tensor], tokens: int, identity: Mapping[str, Any]) -> None:
        self._of = {layer: OfLayer(matrix, layer, tokens) for layer, matrix in matrices.items()}
        self.layers = tuple(sorted(matrices))
        self.tokens = tokens
        self.identity = dict(identity)

    def of(self, layer: int) -> OfLayer:
        """C of one layer, with what was found of it.

        Raises:
            InputError: it is not among those given.
        """
        if layer not in self._of:
            raise InputError(f"the covariance of layer {layer} is not among those given ({list(self.layers)})")
        return self._of[layer]

    def matrix(self, layer: int) -> Tensor:
        """C of a layer, (dimension, dimension)."""
        return self.of(layer).matrix

    def check(self, model: EditableModel) -> None:
        """Raise InputError where they are known to be those of another model's keys."""
        theirs = self.identity.get("content")
        if theirs is not None and theirs != model.content:
            raise InputError(
                f"this covariance of keys is of another model than {model.name}: of {theirs}, not of {model.content}"
            )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """One safetensors file per layer, float32, each whole or not at all; what it is stands in its header."""
        header = {"identity": json.dumps(self.identity, sort_keys=True), "tokens": str(self.tokens)}
        for layer in self.layers:
            tensors = {"covariance": self.matrix(layer).float().cpu().contiguous()}
            with whole_files.draft(Path(folder) / f"layer-{layer}.safetensors") as file:
                safetensors.torch.save_file(tensors, file, metadata=header)
                file.chmod(0o644)  # it writes what only its owner may read

    @classmethod
    def load(cls, folder: str | os.PathLike[str], layers: Sequence[int] | None = None) -> Covariance:
        """Read what `save` wrote.

        Args:
            folder: the folder.
            layers: those wanted; None for all that lie there.

        Raises:
            InputError: a layer is missing, or a file is something else.
        """
        folder = Path(folder)
        files = sorted(folder.glob("layer-*.safetensors"), key=_layer)
        wanted = [_layer(file) for file in files] if layers is None else list(layers)
        if missing := set(wanted) - {_layer(file) for file in files}:
            raise InputError(f"{folder}: there is no covariance of layer {min(missing)}")
        if not wanted:
            raise InputError(f"{folder}: there is no covariance")
        matrices, tokens, identity = {}, set(), {}
        for layer in wanted:
            try:
                with safetensors.safe_open(folder / f"layer-{layer}.safetensors", framework="pt") as file:
                    matrices[layer] = file.get_tensor("covariance")
                    header = file.metadata()
                tokens.add(int(header["tokens"]))
                identity = json.loads(header["identity"])
            except (safetensors.SafetensorError, KeyError, TypeError) as error:
                raise InputError(f"{folder}/layer-{layer}.safetensors: not a covariance ({error})") from None
        return cls(matrices, min(tokens), identity)


def _layer(file: Path) -> int:
    return int(file.stem.removeprefix("layer-"))
