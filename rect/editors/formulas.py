"""Methods written out as on paper, to hold what editors compute against: whole matrices, numpy, float64, no shortcut.

Keys and current values come from full passes of the model, one prompt at a time. What the search found (z, or ROME's
delta) is taken from the editor: it has no closed form. docs/methods.md has the formulas and their sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelfolder.errors import InputError
from rect.editors.betaedit import refreshed
from rect.editors.memit import Memit
from rect.editors.rome import Rome
from rect.editors.ultraedit.editor import UltraEdit
from rect.recipe import PER_DIMENSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rect.editors.base import Editor
    from rect.facts import Fact
    from rect.history import History
    from rect.key_covariance import Covariance
    from rect.model import EditableModel
    from rect.prompts import Row

    Matrix = NDArray[np.float64]

LEAST = 2.0**-23  # added to UltraEdit's deviations


def known(editor: Editor) -> bool:
    """Whether its update is written out here."""
    return editor.name in ADJUSTED or isinstance(editor, Rome | UltraEdit)


def update(editor: Editor, model: EditableModel, facts: Sequence[Fact], history: History) -> dict[str, Matrix]:
    """dW of one operation, (out, in) of each matrix.

    Args:
        editor: its hyperparameters, prefixes and covariance count, and its search.
        model: as it stands before the operation.
        facts: of the operation.
        history: of the operations before.

    Raises:
        InputError: it is not written out here, or not with these hyperparameters.
    """
    with model.lock:
        if isinstance(editor, Memit) and known(editor):
            return _closed_form(editor, model, facts, history)
        if isinstance(editor, Rome):
            return _rome(editor, model, facts)
        if isinstance(editor, UltraEdit):
            return _ultraedit(editor, model, list(facts), history)
    raise InputError(f"{editor.name}: its formula is not written out here, or it has none")


def made_up(model: EditableModel, layers: Sequence[int]) -> Covariance:
    """A covariance of keys of seeded noise, whose directions are used more and less: enough to compare computations."""
    import torch

    from rect.covariance import dimension
    from rect.key_covariance import Covariance

    n, draw, matrices = dimension(model, 0), np.random.default_rng(0), {}
    for layer in layers:
        keys = draw.normal(size=(2 * n, n)) * np.arange(1, n + 1) ** -0.5
        matrices[layer] = torch.from_numpy(keys.T @ keys / n)
    return Covariance(matrices, PER_DIMENSION * n, {"from": "seeded noise"})


def _closed_form(editor: Memit, model: EditableModel, facts: Sequence[Fact], history: History) -> dict[str, Matrix]:
    """dW = R adj^T layer by layer, each with the layers below edited."""
    import torch

    from rect.update import Dense, Update

    layers, transposed = editor.hparams.layers, model.architecture.transposed
    if editor.hparams.blue:
        raise InputError(f"{editor.name}: blue: no formula is written out here for one search a layer")
    z = _array(editor.vectors(model, facts, layers[-1]).z).T  # (hidden, facts)
    found: dict[str, Matrix] = {}
    for i, layer in enumerate(layers):
        name = model.mlp_out_name(layer)
        stored = {done: Dense(torch.tensor(m.T if transposed else m).float()) for done, m in found.items()}
        with model.edited(Update(stored)):
            keys = np.stack([_key(editor, model, fact, layer) for fact in facts], 1)  # (in, facts)
            now = np.stack([_block(model, _rows(editor, model, fact)[0], layers[-1]) for fact in facts], 1)
        left = len(layers) - i
        residual = (z - now) / (left if editor.hparams.spread == "linear" else math.sqrt(left))
        past = [_array(some).T for some in history.keys(name)] if editor.remembers else []
        found[name] = residual @ ADJUSTED[editor.name](editor, layer, keys, past).T
    return found


def _key(editor: Any, model: EditableModel, fact: Fact, layer: int) -> Matrix:
    """Mean over two groups, the bare prompt and all other contexts, of the mean in the group, (in,)."""
    first, *others = (_input(model, row, layer) for row in _rows(editor, model, fact))
    return (first + np.mean(others, 0)) / 2 if others else first


def _memit(editor: Any, layer: int, keys: Matrix, past: list[Matrix]) -> Matrix:
    """(lambda C + H + K K^T + mu I)^-1 K; mu is 0 but in ENCORE, H but where the method remembers."""
    h = editor.hparams
    c = (keys**2).mean() * np.eye(len(keys)) if editor.covariance is None else _covariance(editor, layer)
    whole = h.mom2_update_weight * c + _sum(past, keys) + keys @ keys.T
    return np.linalg.solve(whole + getattr(h, "update_norm_lambda", 0.0) * np.eye(len(keys)), keys)


def _emmet(editor: Any, layer: int, keys: Matrix, past: list[Matrix]) -> Matrix:
    """((K^T A K + e I)^-1 K^T A)^T with A = (l C + mu I)^-1."""
    h, eye = editor.hparams, np.eye(len(keys))
    c = (keys**2).mean() * eye if editor.covariance is None else _covariance(editor, layer)
    a = np.linalg.inv(h.mom2_update_weight * c + h.update_norm_lambda * eye)
    return np.linalg.solve(keys.T @ a @ keys + h.emmet_lambda * np.eye(keys.shape[1]), keys.T @ a).T


def _alphaedit(editor: Any, layer: int, keys: Matrix, past: list[Matrix]) -> Matrix:
    """(P (K K^T + H) + mu I)^-1 P K."""
    p = _projector(editor.hparams, _covariance(editor, layer))
    return _projected(p, keys @ keys.T + _sum(past, keys), editor.hparams.L2, keys)


def _betaedit(editor: Any, layer: int, keys: Matrix, past: list[Matrix]) -> Matrix:
    """(P (K K^T + H + lambda C) + mu I)^-1 P K, P of (H / facts + lambda C) / (lambda + 1) at the last refreshing."""
    h, c = editor.hparams, _covariance(editor, layer)
    seen = refreshed([some.shape[1] for some in past], h.refresh_every)
    known = np.concatenate([keys[:, :0], *past], 1)[:, :seen]
    mixed = (known @ known.T / seen + h.mom2_update_weight * c) / (h.mom2_update_weight + 1) if seen else c
    whole = keys @ keys.T + _sum(past, keys) + h.mom2_update_weight * c
    return _projected(_projector(h, mixed), whole, h.L2, keys)


def _evoedit(editor: Any, layer: int, keys: Matrix, past: list[Matrix]) -> Matrix:
    """(P K K^T + mu I)^-1 P K, where P <- P - P K_p (K_p^T P K_p)^-1 K_p^T P after each operation."""
    p = _projector(editor.hparams, _covariance(editor, layer))
    for some in past:
        p = p - p @ some @ np.linalg.pinv(some.T @ p @ some, rcond=1e-10, hermitian=True) @ some.T @ p
    return _projected(p, keys @ keys.T, editor.hparams.L2, keys)


ADJUSTED: dict[str, Callable[[Any, int, Matrix, list[Matrix]], Matrix]] = {
    "alphaedit": _alphaedit,
    "betaedit": _betaedit,
    "emmet": _emmet,
    "encore": _memit,
    "evoedit": _evoedit,
    "memit": _memit,
    "memit-history": _memit,
}


def _rome(editor: Rome, model: EditableModel, facts: Sequence[Fact]) -> dict[str, Matrix]:
    """dW = (v* - W k) (C^-1 k*)^T / (k^T C^-1 k*), and R-ROME's two forms."""
    (layer,) = editor.hparams.layers
    (value,) = editor.values(model, facts)
    name, delta = model.mlp_out_name(layer), _array(value.delta)
    keys = np.stack([_input(model, row, layer) for row in _rows(editor, model, facts[0])])  # (contexts, in)
    bare, mean = keys[0], keys.mean(0)
    u = mean if editor.covariance is None else np.linalg.solve(_covariance(editor, layer), mean)
    if editor.hparams.r_rome is None:
        return {name: np.outer(delta, u) / (bare @ u)}
    weight = _array(model.weight(name))
    weight = weight.T if model.architecture.transposed else weight
    moved = delta if editor.hparams.r_rome == "published" else weight @ bare + delta - weight @ mean
    return {name: np.outer(moved, u) / (mean @ u)}


def _ultraedit(editor: UltraEdit, model: EditableModel, facts: list[Fact], history: History) -> dict[str, Matrix]:
    """dW^T = (H^T H + I)^-1 H^T V, V = -lr |h^|^2 g^; rows come from the editor."""
    found = {}
    for name, (inputs, gradients) in editor.rows(model, facts).items():
        h, both = _array(inputs), np.concatenate([_array(inputs), _array(gradients)], 1)
        count, total, square = np.array(float(len(both))), both.sum(0), (both**2).sum(0)
        if len(history):
            parts = [history.last(name, part) for part in ("count", "mean", "square")]
            n, mean, apart = (_array(part) for part in parts if part is not None)
            count, total, square = count + n, total + n * mean, square + apart + n * mean**2
        deviation = np.sqrt(square / count - (total / count) ** 2)
        normal = (both - total / count) / (deviation + LEAST)
        h_hat, g_hat = normal[:, : h.shape[1]], normal[:, h.shape[1] :]
        values = -editor.hparams.lr * (h_hat**2).sum(1, keepdims=True) * g_hat
        found[name] = np.linalg.solve(h.T @ h + np.eye(h.shape[1]), h.T @ values).T
    return found


def _covariance(editor: Any, layer: int) -> Matrix:
    return _array(editor.covariance.matrix(layer))


def _projector(hparams: Any, c: Matrix) -> Matrix:
    """On the eigenvectors of the smallest eigenvalues: so many percent of them, or those below a threshold."""
    vectors: Matrix
    values, vectors = np.linalg.eigh(c)
    share, threshold = hparams.nullspace_share, hparams.nullspace_threshold
    number = round(share / 100 * len(c)) if threshold is None else int((values < threshold).sum())
    return vectors[:, :number] @ vectors[:, :number].T


def _projected(p: Matrix, whole: Matrix, ridge: float, keys: Matrix) -> Matrix:
    return np.asarray(np.linalg.solve(p @ whole + ridge * np.eye(len(p)), p @ keys), np.float64)


def _sum(past: list[Matrix], keys: Matrix) -> Matrix:
    return sum((some @ some.T for some in past), np.zeros((len(keys), len(keys))))


def _rows(editor: Any, model: EditableModel, fact: Fact) -> list[Row]:
    from rect.prompts import edit_rows

    return edit_rows(model.tokenizer, fact, editor.prefixes.templates)


def _input(model: EditableModel, row: Row, layer: int) -> Matrix:
    """The key: what goes into the MLP's output projection at the subject's last token, (in,)."""
    return _seen(model, row, model.module(model.path(model.architecture.mlp_out, layer)), before=True)


def _block(model: EditableModel, row: Row, layer: int) -> Matrix:
    """What comes out of a block at the subject's last token, (hidden,)."""
    return _seen(model, row, model.block(layer), before=False)


def _seen(model: EditableModel, row: Row, module: Any, before: bool) -> Matrix:
    import torch

    kept: list[Any] = []

    def hook(_module: Any, inputs: Any, output: Any) -> None:
        kept.append(inputs[0] if before else output[0] if isinstance(output, tuple) else output)

    handle = module.register_forward_hook(hook)
    try:
        with torch.no_grad():
            model.hf(torch.tensor([row.ids], device=model.device), use_cache=False)
    finally:
        handle.remove()
    return _array(kept[0][0, row.lookup])


def _array(tensor: Any) -> Matrix:
    found: Matrix = tensor.detach().double().cpu().numpy()
    return found
