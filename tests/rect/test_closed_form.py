"""The closed form of MEMIT's kin against the formula written out in numpy, and its properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modelfolder.errors import InputError
from rect.closed_form import Prior, adjusted
from rect.key_covariance import Covariance
from rect.update import UpdateError

N = 40
SHARES = (None, 30, 75)  # of directions; None is P = I
SETTINGS = [(3.0, ridge, share) for ridge in (0.0, 7.0) for share in SHARES] + [(0.0, 7.0, 30), (0.0, 7.0, 75)]
FACTS = (1, 6, 25, 60)  # by Woodbury and by Cholesky


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def covariance() -> Covariance:
    keys = torch.from_numpy(draw(0, 5 * N, N) * np.arange(1, N + 1) ** -0.5)
    return Covariance({3: keys.T @ keys / (5 * N)}, 10 * N, {})


def formula(keys: np.ndarray, weight: float, ridge: float, c: np.ndarray, p: np.ndarray, h: Any) -> np.ndarray:
    """adj = (P (K K^T + H + lambda C) + mu I)^-1 P K."""
    return np.linalg.solve(p @ (keys @ keys.T + h + weight * c) + ridge * np.eye(len(c)), p @ keys)


def relative(a: Any, b: Any) -> float:
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)) / np.linalg.norm(np.asarray(b)))


def prior(weight: float, ridge: float, share: float | None) -> tuple[Prior, np.ndarray]:
    """With the projector P."""
    one = covariance().of(3)
    if share is None:
        return Prior(weight, ridge, one), np.eye(N)
    directions = one.null_space(share=share)
    u = directions[1].numpy()
    return Prior(weight, ridge, one, directions=directions), u @ u.T


@pytest.mark.parametrize("facts", FACTS)
@pytest.mark.parametrize("earlier", [0, 4, 50])
def test_a_projector_need_not_be_of_eigenvectors(facts: int, earlier: int) -> None:
    keys, past = torch.from_numpy(draw(1, N, facts)), torch.from_numpy(draw(2, N, earlier)) if earlier else None
    u, c = torch.from_numpy(np.linalg.qr(draw(3, N, 25))[0]), covariance().matrix(3)
    one = Prior(3.0, 7.0, directions=(u.T @ c @ u, u))
    h = 0 if past is None else (past @ past.T).numpy()
    expected = formula(keys.numpy(), 3.0, 7.0, c.numpy(), (u @ u.T).numpy(), h)
    assert relative(adjusted(keys, one, past), expected) < 1e-10


@pytest.mark.parametrize(("weight", "ridge", "share"), SETTINGS)
@pytest.mark.parametrize("facts", FACTS)
@pytest.mark.parametrize("earlier", [0, 4, 50])
def test_equals_the_formula(weight: float, ridge: float, share: float | None, facts: int, earlier: int) -> None:
    keys, past = torch.from_numpy(draw(1, N, facts)), torch.from_numpy(draw(2, N, earlier)) if earlier else None
    one, p = prior(weight, ridge, share)
    h = 0 if past is None else (past @ past.T).numpy()
    limit = bool(share) and not ridge  # the matrix of the formula is singular there
    expected = formula(keys.numpy(), weight, 1e-8 if limit else ridge, covariance().matrix(3).numpy(), p, h)
    found = adjusted(keys, one, past)
    assert relative(found, expected) < (1e-5 if limit else 1e-9)
    assert relative(p @ found.numpy(), found) < 1e-12  # dW (I - P) = 0


@pytest.mark.parametrize("facts", FACTS)
@pytest.mark.parametrize("earlier", [0, 4, 50])
def test_with_the_identity_for_c(facts: int, earlier: int) -> None:
    keys, past = torch.from_numpy(draw(1, N, facts)), torch.from_numpy(draw(2, N, earlier)) if earlier else None
    h = 0 if past is None else (past @ past.T).numpy()
    found = adjusted(keys, Prior(2.0, 0.5, scale=1.5), past)
    assert relative(found, formula(keys.numpy(), 2.0, 0.5, 1.5 * np.eye(N), np.eye(N), h)) < 1e-9


def memit_as_it_was(keys: Tensor, weight: float, one: Covariance | None) -> Tensor:
    """The solve of MEMIT before it had kin, operation by operation."""
    dimension, facts = keys.shape
    if one is None:
        x = keys / (weight * keys.square().mean())
    elif facts < dimension / 2:
        x = torch.cholesky_solve(keys, torch.linalg.cholesky(one.matrix(3).double())) / weight
    else:
        return torch.cholesky_solve(keys, torch.linalg.cholesky(weight * one.matrix(3).to(keys) + keys @ keys.T))
    inner = torch.eye(facts, dtype=keys.dtype) + keys.T @ x
    return torch.linalg.solve(inner.T, x.T).T


@pytest.mark.parametrize("facts", FACTS)
@pytest.mark.parametrize("known", [True, False])
def test_without_history_ridge_and_projector_it_is_memit_to_the_bit(facts: int, known: bool) -> None:
    keys, one = torch.from_numpy(draw(1, N, facts)), covariance() if known else None
    setting = Prior(3.0, covariance=one.of(3)) if one else Prior(3.0, scale=keys.square().mean())
    assert torch.equal(adjusted(keys, setting), memit_as_it_was(keys, 3.0, one))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("facts", [3, 15, 30])
def test_two_operations_with_history_are_one_on_both(share: float | None, facts: int) -> None:
    """On fixed keys: what the second one finds lacking is what the first one left."""
    one, _ = prior(0.0 if share else 3.0, 5.0, share)
    k1, k2, wanted = (
        torch.from_numpy(draw(i, *shape)) for i, shape in enumerate([(N, facts), (N, facts), (9, 2 * facts)])
    )
    r1, r2 = wanted[:, :facts], wanted[:, facts:]
    first = r1 @ adjusted(k1, one).T
    second = (r2 - first @ k2) @ adjusted(k2, one, k1).T
    once = wanted @ adjusted(torch.cat([k1, k2], 1), one).T
    assert relative(first + second, once) < 1e-8
    alone = (r2 - first @ k2) @ adjusted(k2, one).T
    assert relative(first + alone, once) > 1e-3


def test_history_is_the_recursion_of_least_squares() -> None:
    """RLSEdit: C_t = C_{t-1} - F (I + K^T F)^-1 F^T with C_0 = (lambda C)^-1 and F = C_{t-1} K."""
    one, _ = prior(3.0, 0.0, None)
    inverse, past = np.linalg.inv(3 * covariance().matrix(3).numpy()), None
    for i in range(4):
        keys = draw(10 + i, N, 3)
        f = inverse @ keys
        inverse = inverse - f @ np.linalg.inv(np.eye(3) + keys.T @ f) @ f.T
        found = adjusted(torch.from_numpy(keys), one, past)
        assert relative(found, inverse @ keys) < 1e-9
        both = [torch.from_numpy(keys)] if past is None else [past, torch.from_numpy(keys)]
        past = torch.cat(both, 1)


def test_alphaedit_is_least_squares_in_the_null_space() -> None:
    """min |X K - R|^2 + |X K_p|^2 + L2 |X|^2 over X = Y U^T, solved as one stacked system."""
    one, _ = prior(0.0, 5.0, 60)
    assert one.directions is not None
    u, keys, past, r = one.directions[1].numpy(), draw(1, N, 4), draw(2, N, 6), draw(3, 9, 4)
    stacked = np.concatenate([(u.T @ keys).T, (u.T @ past).T, np.sqrt(5.0) * np.eye(u.shape[1])])
    wanted = np.concatenate([r.T, np.zeros((6 + u.shape[1], 9))])
    y = np.linalg.lstsq(stacked, wanted, rcond=None)[0].T
    found = r @ adjusted(torch.from_numpy(keys), one, torch.from_numpy(past)).T.numpy()
    assert relative(found, y @ u.T) < 1e-10


def test_emmet_is_memit_with_lambda_times_epsilon() -> None:
    c, keys = covariance().matrix(3).numpy(), draw(1, N, 4)
    spread = np.linalg.inv(100 * c) @ keys
    emmet = spread @ np.linalg.inv(keys.T @ spread + 0.1 * np.eye(4))
    assert relative(adjusted(torch.from_numpy(keys), Prior(10.0, covariance=covariance().of(3))), emmet) < 1e-9


def test_what_cannot_be_factored() -> None:
    one = Covariance({3: -torch.eye(N)}, 10 * N, {}).of(3)
    with pytest.raises(UpdateError, match="cannot be factored: C or the keys are broken"):
        adjusted(torch.from_numpy(draw(1, N, 30)), Prior(1e6, covariance=one))
    with pytest.raises(InputError, match="the covariance of layer 3 is singular: 400 tokens are too few"):
        adjusted(torch.from_numpy(draw(1, N, 3)), Prior(1e6, covariance=one))
