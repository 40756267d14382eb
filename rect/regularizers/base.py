"""What a regularizer is, what it may ask of a model, and what several of them share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.history import KEYS, History
from rect.selection import check_k
from rect.update import Dense, LowRank, Update

if TYPE_CHECKING:
    from rect.key_covariance import Covariance, OfLayer
    from rect.model import EditableModel


class Weights(Protocol):
    """What a regularizer needs of a model: weights by name, as they stand and as they were before the first edit.

    Some ask for `covariance(name) -> OfLayer` besides, which a `WithCovariance` has.
    """

    def weight(self, name: str) -> Tensor: ...

    def original(self, name: str) -> Tensor: ...


class WithCovariance:
    """A model for regularizers that ask for the covariance of a matrix' inputs.

    Args:
        model: the model.
        covariance: of the inputs of its MLPs' output projections, on the unedited model.
    """

    def __init__(self, model: EditableModel, covariance: Covariance) -> None:
        self.weight, self.original = model.weight, model.original
        self.lock, self.architecture = model.lock, model.architecture
        self._layers = {model.mlp_out_name(layer): layer for layer in covariance.layers}
        self._covariance = covariance

    def covariance(self, name: str) -> OfLayer:
        """C of the inputs of a matrix.

        Raises:
            InputError: it is not among those given.
        """
        if name not in self._layers:
            raise InputError(f"{name}: the covariance of its inputs is not given; those of: {', '.join(self._layers)}")
        return self._covariance.of(self._layers[name])


class Unedited:
    """A model as it was before the first edit, for what is made of all edits together."""

    def __init__(self, model: Weights) -> None:
        self.weight = self.original = model.original
        for name in ("lock", "architecture", "covariance"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))


def at_checkpoint(
    regularizer: Callable[..., Update], model: EditableModel, weights: Weights, k: float = 100, seed: int = 0
) -> tuple[Update, Update]:
    """What all edits of a model made together, and what a regularizer leaves of that.

    Args:
        regularizer: of any kind; it sees one update, from the unedited weights to those of now.
        model: as it stands. It is left alone: `edited(kept - made)` leads to the regularized weights.
        weights: the same model, with what the regularizer asks for besides.
        k, seed: of the regularizer.

    Returns:
        made, kept: W - W0 of every matrix that differs, and its regularized form.
    """
    changed = model.changed()
    made = Update({name: Dense(now.float() - model.original(name).float()) for name, now in changed.items()})
    return made, regularizer(made, Unedited(weights), k, seed)


def held(model: Weights) -> contextlib.AbstractContextManager[object]:
    """Within it no other thread has an edit of its own in the weights."""
    return getattr(model, "lock", contextlib.nullcontext())


def matrices(update: Update, k: float) -> Iterator[tuple[str, LowRank | Dense]]:
    """The entries of an update of matrices, checked."""
    check_k(k)
    update.check_finite()
    for name, entry in update.items():
        if len(entry.shape) != 2:
            raise InputError(f"{name} has shape {entry.shape}: only a matrix has principal components")
        yield name, entry


def transposed(model: Weights) -> bool:
    """Whether weights are stored (in, out)."""
    architecture = getattr(model, "architecture", None)
    return architecture is not None and architecture.transposed


def input_rows(matrix: Tensor, model: Weights) -> Tensor:
    """A matrix as (out, in), whichever way the model stores it; the same function leads back."""
    return matrix.T if transposed(model) else matrix


def factors(entry: LowRank, model: Weights) -> tuple[Tensor, Tensor]:
    """Factors (out, r) and (r, in), whichever way the model stores its weights."""
    return (entry.right.T, entry.left.T) if transposed(model) else (entry.left, entry.right)


def on_inputs(entry: LowRank | Dense, function: Callable[[Tensor], Tensor], model: Weights) -> LowRank | Dense:
    """dW M, for a function X -> X M on rows (n, in). Factors stay factors.

    The product is made in float64 and comes back in the dtype of the entry.
    """
    if isinstance(entry, Dense):
        rows = input_rows(entry.matrix, model)
        return Dense(input_rows(function(rows.double()).to(rows), model))
    left, right = factors(entry, model)
    right = function(right.double()).to(right)
    return LowRank(right.T, left.T) if transposed(model) else LowRank(left, right)


def with_provenance(entries: Mapping[str, LowRank | Dense], update: Update, name: str, k: float, seed: int) -> Update:
    """What a regularizer returns."""
    return Update(entries, {**update.provenance, "regularizer": {"name": name, "k": k, "seed": seed}}, update.memory)


def earlier(name: str, history: History | None, update: Update, model: Weights) -> History:
    """The history that a regularizer was given; an empty one for the first operation.

    Raises:
        InputError: none was given, and the model has been edited.
    """
    if history is not None:
        return history
    if any(not torch.equal(model.weight(matrix), model.original(matrix)) for matrix in update):
        raise InputError(f"{name}: the model was edited before: pass the history of these operations (rect.History)")
    return History()


def keys_of(name: str, update: Update, matrix: str) -> Tensor:
    """The keys of an operation at a matrix, (facts, in).

    Raises:
        InputError: its update carries none.
    """
    keys = update.memory.get(matrix, {}).get(KEYS)
    if keys is None:
        raise InputError(
            f"{name} needs the keys of the operation, which the update of {matrix} does not carry: take a method of "
            f"keys and values (rome, memit and their kin), computed by this version"
        )
    return keys
