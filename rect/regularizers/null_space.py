"""The null space of the model's keys (AlphaEdit, Fang et al., ICLR 2025), as a regularizer of any method's update."""

from __future__ import annotations

from torch import Tensor

from modelfolder.errors import InputError
from rect.regularizers.base import Weights, matrices, on_inputs, with_provenance
from rect.update import Dense, LowRank, Update


def null_space(update: Update, model: Weights, k: float = 100, seed: int = 0) -> Update:
    """dW' = dW P, P the projector on the k% of the directions that plain text uses least.

    They are the eigenvectors of the covariance of the matrix' inputs with the smallest eigenvalues, on the unedited
    model. k = 100 leaves dW as it is.

    Raises:
        InputError: the model is not a `WithCovariance`, lacks that of a matrix, or it rests on too few tokens.
    """
    covariance = getattr(model, "covariance", None)
    entries: dict[str, LowRank | Dense] = {}
    for name, entry in matrices(update, k):
        if k == 100:
            continue
        if covariance is None:
            raise InputError(
                "null-space needs the covariance of keys: take a method that has one (mom2_adjustment: true); in a "
                "script pass rect.regularizers.WithCovariance(model, covariance) in place of the model"
            )
        _, directions = covariance(name).null_space(share=k)

        def project(rows: Tensor, u: Tensor = directions) -> Tensor:
            return (rows @ u.to(rows)) @ u.to(rows).T

        entries[name] = on_inputs(entry, project, model)
    return update if k == 100 else with_provenance(entries, update, "null-space", k, seed)
