"""Solves of released code on small fixed matrices: three operations of two facts on one layer.

`released.json` holds inputs (C, W0, keys K and residuals R of each operation) and what each release, at the commit that
is named, did to the weights; it ran on them as it stands, on the CPU in float32, with its search and its passes of a
model replaced by these numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rect import regularizers
from rect.closed_form import Prior, adjusted
from rect.editors.betaedit import BetaEdit, BetaEditHparams
from rect.editors.encore import Encore, EncoreHparams
from rect.editors.evoedit import EvoEdit, EvoEditHparams
from rect.history import History
from rect.key_covariance import Covariance
from rect.update import LowRank, Update

NAME = "w"
FILE = json.loads(Path(__file__).with_name("released.json").read_text())
K, R = (torch.tensor(FILE["inputs"][key], dtype=torch.float64) for key in ("K", "R"))  # (operation, in or out, facts)
C, W0 = (torch.tensor(FILE["inputs"][key], dtype=torch.float64) for key in ("C", "W0"))
SOLVES: dict[str, tuple[Any, Any]] = {
    "betaedit": (BetaEdit, BetaEditHparams),
    "encore": (Encore, EncoreHparams),
    "evoedit": (EvoEdit, EvoEditHparams),
}
ELEMENTS = 18  # of 84 that the release's RECT 20 keeps: one more than a fifth


class Model:
    """All that a regularizer needs of a model."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.now = weight

    def original(self, name: str) -> torch.Tensor:
        return W0.float()

    def weight(self, name: str) -> torch.Tensor:
        return self.now


def covariance() -> Covariance:
    return Covariance({0: C}, 10 * len(C), {})


def wanted(method: str) -> list[np.ndarray[Any, Any]]:
    return [np.array(dense) for dense in FILE["releases"][method]["dW"]]


def apart(found: torch.Tensor, expected: np.ndarray[Any, Any]) -> float:
    return float(np.linalg.norm(found.double().numpy() - expected) / np.linalg.norm(expected))


def solved(keys: torch.Tensor, residual: torch.Tensor, adj: torch.Tensor) -> Update:
    """R adj^T as an update with its keys."""
    factors = LowRank(residual.float(), adj.T.float().contiguous())
    return Update({NAME: factors}, memory={NAME: {"keys": keys.T.float().contiguous()}})


@pytest.mark.parametrize("method", SOLVES)
def test_a_solve_equals_the_release(method: str) -> None:
    cls, hparams = SOLVES[method]
    given = FILE["releases"][method]["settings"]
    settings = {key: value for key, value in given.items() if key in hparams.model_fields}
    editor, history = cls(hparams(layers=(0,), **settings), None, covariance()), History()
    for keys, residual, expected in zip(K, R, wanted(method), strict=True):
        adj = editor.adjusted(0, NAME, keys, history)
        assert apart(residual @ adj.T, expected) < 1e-4
        history = history.after(solved(keys, residual, adj))


def test_betaedits_null_space_was_found_anew_in_the_third_operation() -> None:
    """Or the numbers would say nothing of it: with the first one the third operation is another."""
    settings = FILE["releases"]["betaedit"]["settings"]
    values = {key: settings[key] for key in ("mom2_update_weight", "L2", "nullspace_threshold")}
    editor, history = BetaEdit(BetaEditHparams(layers=(0,), refresh_every=99, **values), None, covariance()), History()
    for keys, residual in zip(K[:2], R[:2], strict=True):
        history = history.after(solved(keys, residual, editor.adjusted(0, NAME, keys, history)))
    third = R[2] @ editor.adjusted(0, NAME, K[2], history).T
    assert apart(third, wanted("betaedit")[2]) > 1e-2


def test_rect_with_feedback_equals_the_release() -> None:
    """Its solve is that of MEMIT with a history and mu = 1; its RECT keeps one element more than k says."""
    weight = FILE["releases"]["rect-feedback"]["settings"]["mom2_update_weight"]
    prior = Prior(weight, ridge=1.0, covariance=covariance().of(0))
    now, history = W0.float(), History()
    for keys, residual, expected in zip(K, R, wanted("rect-feedback"), strict=True):
        update = solved(keys, residual, adjusted(keys, prior, history.past(NAME, len(C))))
        k = 100 * ELEMENTS / W0.numel()
        kept = regularizers.get("rect-feedback")(update, Model(now), k, history=history)
        assert int((kept.dense(NAME) != 0).sum()) == ELEMENTS == int((np.abs(expected) > 1e-6).sum())
        assert apart(kept.dense(NAME), expected) < 1e-4
        now, history = now + kept.dense(NAME), history.after(kept)


def test_simie_equals_the_release() -> None:
    """Each operation's edit is R K^T; lambda is that of k = 60."""
    settings = FILE["releases"]["simie"]["settings"]
    assert settings["lamHyper"] == pytest.approx((100 / settings["k"] - 1) * float(K[0].square().sum(0).mean()))
    now, history = W0.float(), History()
    for keys, residual, expected in zip(K, R, wanted("simie"), strict=True):
        kept = regularizers.get("simie")(solved(keys, residual, keys), Model(now), settings["k"], history=history)
        assert apart(kept.dense(NAME), expected) < 1e-4
        now, history = now + kept.dense(NAME), history.after(kept)
