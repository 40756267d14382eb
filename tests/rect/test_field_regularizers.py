"""PRUNE, SPHERE, the null space, SimIE and RECT with feedback: formulas in numpy, properties, and released code."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelfolder.errors import InputError
from rect import regularizers
from rect.history import History
from rect.key_covariance import Covariance
from rect.model import EditableModel
from rect.regularizers import feedback, simie
from rect.regularizers.prune import restrained
from rect.regularizers.sphere import principal_directions
from rect.update import Dense, LowRank, Update
from tests.tiny import tiny_model

NAME = "w"
BASES = {"log": math.e, "log2": 2.0, "log1_5": 1.5, "log1_2": 1.2}
UPDATES = ("factors", "dense")


class Model:
    """All that a regularizer needs of a model."""

    def __init__(self, original: Any, now: Any = None, covariance: Covariance | None = None) -> None:
        self._original = torch.as_tensor(original)
        self.now = self._original if now is None else torch.as_tensor(now)
        if covariance is not None:
            self.covariance = lambda name: covariance.of(0)

    def original(self, name: str) -> torch.Tensor:
        return self._original

    def weight(self, name: str) -> torch.Tensor:
        return self.now


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def low_rank(shape: tuple[int, int], values: list[float], seed: int = 0) -> np.ndarray:
    """A float32 matrix with these singular values."""
    left, _ = np.linalg.qr(rng(seed).normal(size=(shape[0], len(values))))
    right, _ = np.linalg.qr(rng(seed + 1).normal(size=(shape[1], len(values))))
    return (left * np.array(values) @ right.T).astype(np.float32)


def as_update(delta: np.ndarray, form: str, memory: dict[str, Any] | None = None) -> Update:
    if form == "dense":
        return Update({NAME: Dense(torch.from_numpy(delta))}, memory=memory)
    u, s, v = np.linalg.svd(delta.astype(np.float64), full_matrices=False)
    rank = int((s > 1e-5 * s[0]).sum())
    left, right = (torch.from_numpy(x.astype(np.float32)) for x in (u[:, :rank] * s[:rank], v[:rank]))
    return Update({NAME: LowRank(left, right)}, memory=memory)


def relative(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def oracle(shared_oracle: Path) -> Any:
    return np.load(shared_oracle / "regularizers.npz")


class TestRect:
    @pytest.mark.parametrize("case", "ab")
    def test_the_release_s_baseline_keeps_one_element_more(self, oracle: Any, case: str) -> None:
        """AlphaEdit's repository at k = 40: 2,459 of 6,144 where ours keeps 2,458, the same ones; zeros of W first."""
        w0, delta, after = (oracle[f"rect_{case}_{what}"] for what in ("W", "D", "W_after"))
        mine = regularizers.get("rect")(as_update(delta, "dense"), Model(w0), k=40).dense(NAME).numpy() != 0
        theirs = after != w0
        assert (mine.sum(), theirs.sum()) == (2458, 2459)
        assert not (mine & ~theirs).any()
        assert mine[w0 == 0].all()


class TestPrune:
    @pytest.mark.parametrize("base", BASES)
    @pytest.mark.parametrize("form", UPDATES)
    def test_equals_the_release(self, oracle: Any, base: str, form: str) -> None:
        w0, delta, wanted = oracle["prune_a_W0"], oracle["prune_a_D"], oracle[f"prune_a_{base}_W"]
        kept = regularizers.get("prune")(as_update(delta, form), Model(w0), k=100 / BASES[base])
        assert relative(w0 + kept.dense(NAME).numpy(), wanted) < 1e-6
        assert relative(kept.dense(NAME).numpy(), wanted - w0) < 1e-5

    @pytest.mark.parametrize("base", BASES)
    @pytest.mark.parametrize("case", "ab")
    def test_the_function_of_singular_values_equals_the_release(self, oracle: Any, base: str, case: str) -> None:
        w0, delta = (oracle[f"prune_{case}_{what}"].astype(np.float64) for what in ("W0", "D"))
        largest = np.linalg.svd(w0, compute_uv=False)[0]
        found = restrained(torch.from_numpy(np.linalg.svd(delta, compute_uv=False)), largest, BASES[base]).numpy()
        assert found[:5] == pytest.approx(oracle[f"prune_{case}_{base}_s"][:5], rel=1e-5)

    @pytest.mark.parametrize("base", BASES)
    def test_what_would_raise_singular_values_is_refused(self, oracle: Any, base: str) -> None:
        w0, delta = oracle["prune_b_W0"], oracle["prune_b_D"]  # released code raises every value above sigma_max
        with pytest.raises(
            InputError, match=r"prune: w: the largest singular value of W0 is 0.3337.* k of at most 4.9"
        ):
            regularizers.get("prune")(as_update(delta, "dense"), Model(w0), k=100 / BASES[base])

    @pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
    @pytest.mark.parametrize("form", UPDATES)
    def test_equals_the_formula_after_earlier_operations(self, shape: tuple[int, int], form: str) -> None:
        w0, earlier, delta = (low_rank(shape, v, i) for i, v in enumerate([[4.0, 2.0, 1.0], [9.0, 3.0], [20.0, 5.0]]))
        now = w0 + earlier
        kept = regularizers.get("prune")(as_update(delta, form), Model(w0, now), k=50).dense(NAME).numpy()
        u, s, v = np.linalg.svd((now.astype(np.float64) - w0) + delta, full_matrices=False)
        restrained = np.where(s >= 4, np.log2(np.maximum(s, 1e-9)) - np.log2(4) + 4, s)
        assert relative(now + kept, w0 + (u * restrained) @ v) < 1e-6

    @pytest.mark.parametrize("form", UPDATES)
    def test_below_the_largest_value_of_w0_it_is_the_identity(self, form: str) -> None:
        w0, update = low_rank((30, 12), [4.0, 2.0]), as_update(low_rank((30, 12), [3.99, 3.9, 3.8, 3.7], 5), form)
        kept = regularizers.get("prune")(update, Model(w0), k=50)
        assert kept[NAME] is update[NAME]  # its Frobenius norm is 7.7: the singular values have to be looked at

    def test_order_and_vectors_stay(self) -> None:
        w0, delta = low_rank((20, 15), [3.0]), low_rank((20, 15), [40.0, 8.0, 3.5, 2.0, 1.0], 4)
        kept = regularizers.get("prune")(as_update(delta, "dense"), Model(w0), k=40).dense(NAME).double().numpy()
        (u, s, _), (u2, s2, _) = np.linalg.svd(delta.astype(float)), np.linalg.svd(kept)
        assert (np.diff(s2[:5]) < 0).all()
        assert s2[:3] == pytest.approx(np.log(s[:3] / 3) / np.log(2.5) + 3, rel=1e-5)
        assert s2[3:5] == pytest.approx(s[3:5], rel=1e-5)
        assert np.abs((u * u2).sum(0))[:5] == pytest.approx(np.ones(5), rel=1e-5)

    def test_it_is_one_of_checkpoints(self) -> None:
        assert {name for name, one in regularizers.REGULARIZERS.items() if one.when == "checkpoint"} == {"prune"}


class TestSphere:
    @pytest.mark.parametrize("alpha", [0.5, 0.8])
    @pytest.mark.parametrize("case", "ab")
    @pytest.mark.parametrize("form", UPDATES)
    def test_equals_the_release(self, oracle: Any, alpha: float, case: str, form: str) -> None:
        update, model = as_update(oracle[f"sphere_{case}_D"], form), Model(oracle[f"sphere_{case}_W"])
        kept = regularizers.get("sphere")(update, model, k=100 * (1 - alpha))
        assert relative(kept.dense(NAME).numpy(), oracle[f"sphere_{case}_alpha{alpha}_D"]) < 1e-5

    @pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
    def test_equals_the_formula(self, shape: tuple[int, int]) -> None:
        w, delta = (rng(i).normal(size=shape).astype(np.float32) for i in range(2))
        rows = w.astype(float) / np.linalg.norm(w.astype(float), axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
        number = int((np.cumsum(values[::-1]) / values.sum() <= 0.5).sum()) + 1
        u = vectors[:, ::-1][:, :number]
        kept = regularizers.get("sphere")(as_update(delta, "dense"), Model(w), k=30).dense(NAME).numpy()
        assert relative(kept, delta - 0.7 * delta @ u @ u.T) < 1e-6

    def test_where_nothing_is_left_of_the_directions(self) -> None:
        """alpha = 1 in the limit: dW' U = 0, and twice is once."""
        w, delta = (torch.from_numpy(rng(i).normal(size=(12, 30)).astype(np.float32)) for i in range(2))
        u = principal_directions(w).float()
        once = regularizers.get("sphere")(Update({NAME: Dense(delta)}), Model(w), k=1e-9)
        twice = regularizers.get("sphere")(once, Model(w), k=1e-9)
        assert (once.dense(NAME) @ u).norm() < 1e-5 * delta.norm()
        assert relative(twice.dense(NAME), once.dense(NAME)) < 1e-6

    def test_the_length_of_a_row_does_not_count(self) -> None:
        w, delta = (rng(i).normal(size=(12, 30)).astype(np.float32) for i in range(2))
        scaled = w * rng(3).uniform(0.1, 9, size=(12, 1)).astype(np.float32)
        one, two = (regularizers.get("sphere")(as_update(delta, "dense"), Model(x), k=50) for x in (w, scaled))
        assert relative(one.dense(NAME), two.dense(NAME)) < 1e-6


class TestNullSpace:
    N = 24

    def covariance(self, tokens: int = 240) -> Covariance:
        keys = torch.from_numpy(rng(3).normal(size=(400, self.N)) * np.arange(1, self.N + 1) ** -0.8)
        return Covariance({0: keys.T @ keys / 400}, tokens, {})

    @pytest.mark.parametrize("form", UPDATES)
    @pytest.mark.parametrize("k", [10, 50, 75])
    def test_equals_the_formula_and_leaves_the_used_directions_alone(self, form: str, k: float) -> None:
        c, delta = self.covariance(), low_rank((10, self.N), [3.0, 2.0, 1.0])
        kept = regularizers.get("null-space")(as_update(delta, form), Model(delta, covariance=c), k=k)
        _, vectors = np.linalg.eigh(c.matrix(0).numpy())
        u = vectors[:, : round(k / 100 * self.N)]
        p = u @ u.T
        found = kept.dense(NAME).numpy().astype(float)
        assert relative(found, delta @ p) < 1e-6
        assert np.linalg.norm(found @ (np.eye(self.N) - p)) < 1e-6 * np.linalg.norm(delta)  # dW (I - P) = 0
        again = regularizers.get("null-space")(kept, Model(delta, covariance=c), k=k)
        assert relative(again.dense(NAME), found) < 1e-6  # P^2 = P
        assert isinstance(kept[NAME], LowRank) == (form == "factors")

    def test_too_few_tokens_are_refused(self) -> None:
        model = Model(np.zeros((3, self.N)), covariance=self.covariance(239))
        with pytest.raises(
            InputError, match=r"layer 0 needs at least 10 tokens per dimension, 240, .* it rests on 239:"
        ):
            regularizers.get("null-space")(as_update(np.ones((3, self.N), np.float32), "dense"), model, k=50)

    def test_a_model_alone_does_not_know_it(self) -> None:
        with pytest.raises(InputError, match=r"WithCovariance\(model, covariance\)"):
            regularizers.get("null-space")(as_update(np.ones((3, 4), np.float32), "dense"), Model(np.ones((3, 4))), k=9)

    @pytest.mark.parametrize("family", ["gpt2", "llama"])
    def test_it_is_the_side_of_the_inputs_that_is_projected(self, family: str) -> None:
        """Of a real model, whichever way it stores its weights: text's own directions see nothing of the update."""
        model = EditableModel(*tiny_model(family))
        name = model.mlp_out_name(1)
        shape = tuple(model.weight(name).shape)
        n = max(shape)  # the inner size of an MLP is the larger one
        used = torch.from_numpy(rng(0).normal(size=(n, n // 4)))
        c = Covariance({1: used @ used.T}, 10 * n, {})
        delta = torch.from_numpy(rng(1).normal(size=shape).astype(np.float32))
        informed = regularizers.WithCovariance(model, c)
        for regularizer in ("null-space", "sphere"):
            kept = regularizers.get(regularizer)(Update({name: Dense(delta)}), informed, k=75).dense(name)
            moved = (kept.T if family == "gpt2" else kept).double() @ used
            before = (delta.T if family == "gpt2" else delta).double() @ used
            assert (moved.norm() < 1e-5 * before.norm()) == (regularizer == "null-space")
        with pytest.raises(InputError, match=r"layers.0|h.0"):
            informed.covariance(model.mlp_out_name(0))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_sphere_looks_at_rows_of_outputs_in_every_family(family: str) -> None:
    model = EditableModel(*tiny_model(family))
    name = model.mlp_out_name(0)
    weight = model.weight(name)
    delta = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    kept = regularizers.get("sphere")(Update({name: Dense(delta)}), model, k=25).dense(name)
    if family == "gpt2":
        weight, delta, kept = weight.T, delta.T, kept.T
    u = principal_directions(weight).float()  # (in, r)
    assert relative(kept, delta - 0.75 * delta @ u @ u.T) < 1e-5


def operations(n: int, shape: tuple[int, int], facts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per operation keys (in, facts) and the values that are wanted there, of a linear layer."""
    return [
        (rng(2 * i).normal(size=(shape[1], facts)), rng(2 * i + 1).normal(size=(shape[0], facts))) for i in range(n)
    ]


class TestSimIE:
    SHAPE = (7, 11)

    @pytest.mark.parametrize("form", UPDATES)
    @pytest.mark.parametrize("k", [5, 60, 100])
    def test_a_sequence_is_one_ridge_regression(self, form: str, k: float) -> None:
        """The recursion's sum equals sum of (W_edited - W_0) K K^T times (lambda I + sum of K K^T)^-1 at its end."""
        w0, history = np.zeros(self.SHAPE, np.float32), History()
        now, made, keys = w0.copy(), np.zeros(self.SHAPE), []
        for i in range(3):
            key, delta = rng(i).normal(size=(self.SHAPE[1], 2)), low_rank(self.SHAPE, [2.0, 1.0], 9 * i)
            memory = {NAME: {"keys": torch.from_numpy(key.T.astype(np.float32))}}
            kept = regularizers.get("simie")(as_update(delta, form, memory), Model(w0, now), k=k, history=history)
            made += (now + delta - w0).astype(float) @ key @ key.T
            keys.append(key)
            now, history = now + kept.dense(NAME).numpy(), history.after(kept)
        weight = (100 / k - 1) * (keys[0] ** 2).sum(0).mean()
        total = weight * np.eye(self.SHAPE[1]) + sum(key @ key.T for key in keys)
        assert relative(now - w0, made @ np.linalg.pinv(total)) < 1e-5

    def test_k_is_what_one_fact_keeps_at_its_key(self) -> None:
        key, delta = rng(0).normal(size=(11, 1)).astype(np.float32), low_rank((7, 11), [3.0], 1)
        update = as_update(delta, "factors", {NAME: {"keys": torch.from_numpy(key.T.copy())}})
        kept = regularizers.get("simie")(update, Model(np.zeros((7, 11))), k=35).dense(NAME).numpy()
        assert relative(kept @ key, 0.35 * delta @ key) < 1e-6

    def test_the_factor_equals_the_formula(self) -> None:
        past, keys = (torch.from_numpy(rng(i).normal(size=(40, 3))) for i in range(2))
        total = 5 * np.eye(40) + (past @ past.T + keys @ keys.T).numpy()
        assert relative(simie.merged(keys, 5, past), keys.numpy().T @ np.linalg.inv(total)) < 1e-10

    def test_what_it_needs(self) -> None:
        update = as_update(np.ones(self.SHAPE, np.float32), "dense")
        with pytest.raises(InputError, match="simie needs the keys of the operation, which the update of w does not"):
            regularizers.get("simie")(update, Model(np.zeros(self.SHAPE)), k=50)
        edited = Model(np.zeros(self.SHAPE), np.ones(self.SHAPE))
        with pytest.raises(InputError, match=r"simie: the model was edited before: pass the history"):
            regularizers.get("simie")(update, edited, k=50)


class TestFeedback:
    def solve(self, k: float, name: str, rounds: int = 20) -> tuple[float, np.ndarray]:
        """Edit a random linear layer in rounds: distance from one time for all, relative, and what was done."""
        shape, weight = (24, 48), 2.0
        w0 = rng(99).normal(size=shape)
        w, a, history = w0.copy(), weight * np.eye(48), History()
        both = operations(rounds, shape, 3)
        for keys, values in both:
            a += keys @ keys.T
            adjusted = np.linalg.solve(a, keys)
            left, right = (torch.from_numpy(x.copy()).float() for x in (values - w @ keys, adjusted.T))
            update = Update({NAME: LowRank(left, right)}, memory={NAME: {"keys": torch.from_numpy(keys.T).float()}})
            kept = regularizers.get(name)(update, Model(w0.astype(np.float32), w.astype(np.float32)), k, 0, history)
            w, history = w + kept.dense(NAME).double().numpy(), history.after(kept)
        every, wanted = (np.concatenate(x, 1) for x in zip(*both, strict=True))
        once = (wanted - w0 @ every) @ np.linalg.solve(a, every).T
        return relative(w - w0, once), w - w0

    @pytest.mark.parametrize("k", [80, 40, 20])
    def test_it_undoes_at_least_half_of_what_rect_cuts(self, k: float) -> None:
        """7, 79 and 116% from the one-time solution with plain RECT, 0.7, 8 and 48% with feedback."""
        assert self.solve(k, "rect")[0] > 2 * self.solve(k, "rect-feedback")[0]

    def test_equals_the_solve_with_the_error_on_its_right_side(self) -> None:
        """Literally: X (A + K K^T) = R K^T - E A, E = kept - X of the operation before, A of its solve."""
        shape, k = (24, 48), 40.0
        w0 = rng(99).normal(size=shape)
        w, a, error = w0.copy(), 2.0 * np.eye(48), np.zeros(shape)
        for keys, values in operations(6, shape, 3):
            right = (values - w @ keys) @ keys.T - error @ a
            a = a + keys @ keys.T
            x = right @ np.linalg.inv(a)
            kept = regularizers.keep_top(torch.from_numpy(x), torch.from_numpy(w), k).numpy()
            w, error = w + kept, kept - x
        assert relative(self.solve(k, "rect-feedback", 6)[1], w - w0) < 1e-4

    def test_nothing_cut_is_nothing_returned(self) -> None:
        assert self.solve(100, "rect-feedback", 4)[0] < 1e-5

    def test_it_needs_factors_and_keys(self) -> None:
        w = np.ones((5, 6), np.float32)
        keys = {NAME: {"keys": torch.ones(1, 6)}}
        first = regularizers.get("rect-feedback")(as_update(w, "dense", keys), Model(w), k=40)
        after = History().after(first)
        with pytest.raises(InputError, match="needs the update of w in factors"):
            regularizers.get("rect-feedback")(as_update(w, "dense", keys), Model(w, 2 * w), k=40, history=after)
        with pytest.raises(InputError, match="rect-feedback needs the keys"):
            regularizers.get("rect-feedback")(as_update(w, "factors"), Model(w), k=40)

    @pytest.mark.parametrize("family", ["gpt2", "llama"])
    def test_either_way_a_weight_is_stored(self, family: str) -> None:
        model = EditableModel(*tiny_model(family))
        name = model.mlp_out_name(0)
        inner, hidden = max(model.weight(name).shape), min(model.weight(name).shape)
        draw = torch.Generator().manual_seed(0)
        left, right, key = (torch.randn(n, 2, generator=draw) for n in (hidden, inner, inner))
        rest = torch.randn(hidden, inner, generator=draw)
        turn = family == "gpt2"
        entry = LowRank(right, left.T) if turn else LowRank(left, right.T)
        first = Update({name: entry}, memory={name: {"keys": key.T, "error": rest.T if turn else rest}})
        update = Update({name: entry}, memory={name: {"keys": key.T}})
        kept = regularizers.get("rect-feedback")(update, model, 100, history=History().after(first)).dense(name)
        wanted = (left + rest @ key) @ right.T - rest
        assert relative(kept.T if turn else kept, wanted) < 1e-5
        assert feedback.returned(rest, key, right).shape == (hidden, inner)
