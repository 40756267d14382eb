"""SimIE: the update of any method, merged into what earlier ones did by ridge regression on their keys."""

from __future__ import annotations

import torch
from torch import Tensor

from rect.closed_form import Prior, adjusted
from rect.history import History
from rect.regularizers.base import Weights, earlier, input_rows, keys_of, matrices, transposed, with_provenance
from rect.update import Dense, LowRank, Update, outer


def merged(keys: Tensor, weight: float, past: Tensor | None = None) -> Tensor:
    """The right factor of dW' = (dW K) K^T (lambda I + K_p K_p^T + K K^T)^-1.

    Args:
        keys: K, (in, facts), float64.
        weight: lambda; with 0 the pseudo-inverse is taken.
        past: K_p, (in, earlier facts), float64.

    Returns:
        (facts, in), float64
    """
    if weight:
        return adjusted(keys, Prior(0.0, ridge=weight), past).T
    both = keys if past is None else torch.cat([past, keys], dim=1)
    return torch.linalg.pinv(both)[-keys.shape[1] :]


def simie(update: Update, model: Weights, k: float = 100, seed: int = 0, history: History | None = None) -> Update:
    """dW' = dW K K^T (lambda I + sum of K K^T over all operations)^-1, with lambda = (100/k - 1) times |key|^2.

    |key|^2 is the mean over the first operation. So k is the share that a fact, alone, keeps of its edit at its own
    key; at 100 it keeps all there, and dW acts on the keys' span only. The sum over a sequence is the ridge solution of
    what each edit did to its keys. K are the keys that the update carries, at the subject's last token; the released
    code takes those of the target's tokens, and lambda 10,000 whatever the keys' size.

    Raises:
        InputError: the update carries no keys, or the model was edited before and no history is given.
    """
    past = None
    entries: dict[str, LowRank | Dense] = {}
    for name, entry in matrices(update, k):
        past = earlier("simie", history, update, model) if past is None else past
        keys = keys_of("simie", update, name)  # (facts, in)
        first = (*past.keys(name), keys)[0].double()
        weight = (100 / k - 1) * float(first.square().sum(1).mean())
        before = past.past(name, keys.shape[1])
        delta = input_rows(entry.dense(), model).to(keys.device)  # (out, in)
        left = (delta @ keys.T.to(delta)).float()
        right = merged(keys.T.double(), weight, None if before is None else before.to(keys.device)).float()
        entries[name] = outer(left, right.T, transposed(model))
    return with_provenance(entries, update, "simie", k, seed)
