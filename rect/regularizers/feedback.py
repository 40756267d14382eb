"""RECT with error feedback (Wang et al., ICML 2026): what RECT cut off comes back with the next operation."""

from __future__ import annotations

from torch import Tensor

from modelfolder.errors import InputError
from rect.history import History
from rect.regularizers.base import Weights, earlier, factors, held, input_rows, keys_of, matrices, with_provenance
from rect.regularizers.masks import keep_top
from rect.update import Dense, LowRank, Update

ERROR = "error"


def returned(error: Tensor, keys: Tensor, adjusted: Tensor) -> Tensor:
    """What the error of the last operation adds to the update of this one: error K adj^T - error.

    It is the error E A of the normal equations (E = kept - wanted, A of the last solve) taken off the right side of
    this one, (R K^T - E A) (A + K K^T)^-1, written without A: for dW = R adj^T, adj = (A + K K^T)^-1 K, and in the same
    way for the solve with a projector.

    Args:
        error: E, (out, in).
        keys: K, (in, facts).
        adjusted: adj, (in, facts).

    Returns:
        (out, in)
    """
    return (error @ keys) @ adjusted.T - error


def rect_feedback(
    update: Update, model: Weights, k: float = 100, seed: int = 0, history: History | None = None
) -> Update:
    """RECT on dW + E K adj^T - E, where E is what the last operation was to do and did not, as RECT had cut it off.

    Args:
        update: of a method that solves for dW = R adj^T, in factors, with its keys.
        model, k, seed: as for RECT.
        history: with the last operation as this function returned it: it carries E.

    Raises:
        InputError: the update has no factors or no keys, or the model was edited before and no history is given.
    """
    past = None
    entries: dict[str, LowRank | Dense] = {}
    errors: dict[str, Tensor] = {}
    for name, entry in matrices(update, k):
        past = earlier("rect-feedback", history, update, model) if past is None else past
        keys = keys_of("rect-feedback", update, name)  # (facts, in)
        wanted = entry.dense()
        error = past.last(name, ERROR)
        if error is not None:
            error = error.to(wanted.device)
            wanted = wanted + input_rows(_returned(name, entry, input_rows(error, model), keys, model), model)
        if k == 100:
            entries[name] = entry if error is None else Dense(wanted)
            continue
        with held(model):
            kept = keep_top(wanted, model.weight(name), k)
        entries[name], errors[name] = Dense(kept), kept - wanted.to(kept)
    result = with_provenance(entries, update, "rect-feedback", k, seed)
    for name, error in errors.items():
        result.memory.setdefault(name, {})[ERROR] = error
    return result


def _returned(name: str, entry: LowRank | Dense, error: Tensor, keys: Tensor, model: Weights) -> Tensor:
    if not isinstance(entry, LowRank):
        raise InputError(f"rect-feedback needs the update of {name} in factors: fewer facts in an operation")
    _, right = factors(entry, model)  # adj^T, (facts, in)
    if len(right) != len(keys):
        raise InputError(f"rect-feedback: {name}: {len(keys)} keys, but an update of rank {len(right)}")
    double = error.double()
    return returned(double, keys.T.to(double), right.T.to(double)).to(error)
