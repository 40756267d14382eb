"""Regularizers against brute-force definitions, written as plainly as can be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from modelfolder.errors import InputError
from rect import regularizers
from rect.key_covariance import Covariance, OfLayer
from rect.regularizers import keep_top
from rect.update import Dense, LowRank, Update, UpdateError


class Model:
    """All that a regularizer needs of a model."""

    def __init__(self, **weights: torch.Tensor) -> None:
        self.weights = weights

    def weight(self, name: str) -> torch.Tensor:
        return self.weights[name]

    def original(self, name: str) -> torch.Tensor:
        return self.weights[name]

    def covariance(self, name: str) -> OfLayer:
        n = self.weights[name].shape[1]
        return Covariance({0: torch.arange(1.0, n + 1).diag()}, 1000, {}).of(0)


def brute_force(delta: torch.Tensor, weight: torch.Tensor, k: float) -> torch.Tensor:
    """RECT by its definition: sort all elements by (largest relative change, lowest index), keep the first."""
    changes = []
    for d, w in zip(delta.float().flatten().tolist(), weight.float().flatten().tolist(), strict=True):
        if w == 0:
            changes.append(math.inf if d != 0 else 0.0)
        else:
            with np.errstate(over="ignore"):
                changes.append(float(np.float32(abs(d)) / np.float32(abs(w))))
    order = sorted(range(len(changes)), key=lambda i: (-changes[i], i))
    kept = torch.zeros_like(delta).flatten()
    for i in order[: round(k / 100 * len(changes))]:
        kept[i] = delta.flatten()[i]
    return kept.reshape(delta.shape)


def exact(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


values = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-40, -1e-38, 3e38]), st.floats(-4, 4, width=32))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), rows=st.integers(1, 7), cols=st.integers(1, 9), k=st.floats(0.5, 100))
def test_keep_top_equals_the_definition(data: st.DataObject, rows: int, cols: int, k: float) -> None:
    draw = lambda: torch.tensor(data.draw(st.lists(values, min_size=rows * cols, max_size=rows * cols)))  # noqa: E731
    delta, weight = draw().reshape(rows, cols), draw().reshape(rows, cols)
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    weight = weight.to(dtype)
    assert exact(keep_top(delta, weight, k), brute_force(delta, weight, k))
    assert exact(keep_top(delta.T, weight.T, k), brute_force(delta.T.contiguous(), weight.T.contiguous(), k))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k", [0.01, 1, 20, 40, 99.99, 100])
def test_keep_top_on_a_large_matrix(dtype: torch.dtype, k: float) -> None:
    """Many ties, zeros in both."""
    generator = torch.Generator().manual_seed(1)
    delta = torch.randn(600, 900, generator=generator)
    weight = torch.randn(600, 900, generator=generator).to(dtype)
    delta[torch.rand(600, 900, generator=generator) < 0.2] = 0
    weight[torch.rand(600, 900, generator=generator) < 0.2] = 0
    delta[:, :300], weight[:, :300] = 0.5, 2  # 180,000 equal ones
    kept = keep_top(delta, weight, k)

    change = np.nan_to_num((delta / weight.float()).abs().numpy().ravel(), nan=0, posinf=np.inf)
    first = np.argsort(-change, kind="stable")[: round(k / 100 * change.size)]
    expected = np.zeros_like(change)
    expected[first] = delta.numpy().ravel()[first]
    assert np.array_equal(kept.numpy().ravel(), expected)


def test_only_the_sign_free_ratio_counts() -> None:
    delta = torch.tensor([[1.0, -6.0, 2.0, 9.0]])
    weight = torch.tensor([[-10.0, 20.0, -10.0, 100.0]])  # relative changes 0.1, 0.3, 0.2, 0.09
    assert keep_top(delta, weight, 50).tolist() == [[0.0, -6.0, 2.0, 0.0]]


def test_zeros_in_the_weight() -> None:
    delta = torch.tensor([[1e-9, 0.0, 5.0, 0.0]])
    weight = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert keep_top(delta, weight, 25).tolist() == [[np.float32(1e-9), 0.0, 0.0, 0.0]]  # infinite change
    assert keep_top(delta, weight, 50).tolist() == [[np.float32(1e-9), 0.0, 5.0, 0.0]]


def test_ties_are_broken_by_index() -> None:
    delta, weight = torch.ones(2, 5), torch.ones(2, 5)
    assert keep_top(delta, weight, 30).tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert keep_top(delta, weight, 70).tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(numel=st.integers(1, 400), k=st.floats(0.01, 100), ties=st.booleans())
def test_the_count_is_exact(numel: int, k: float, ties: bool) -> None:
    delta = torch.ones(numel) if ties else torch.arange(1.0, numel + 1)
    assert int((keep_top(delta, torch.ones(numel), k) != 0).sum()) == round(k / 100 * numel)


@pytest.fixture
def model() -> Model:
    generator = torch.Generator().manual_seed(0)
    return Model(
        a=torch.randn(12, 20, generator=generator), b=torch.randn(20, 12, generator=generator).to(torch.bfloat16)
    )


@pytest.fixture
def update() -> Update:
    generator = torch.Generator().manual_seed(5)
    left, right = torch.randn(12, 2, generator=generator), torch.randn(2, 20, generator=generator)
    dense = torch.randn(20, 12, generator=generator)
    keys = {name: {"keys": torch.randn(2, n, generator=generator)} for name, n in (("a", 20), ("b", 12))}
    return Update({"a": LowRank(left, right), "b": Dense(dense)}, {"method": "rome"}, keys)


@pytest.mark.parametrize("k", [1, 20, 33.3, 40, 80])
def test_rect_and_magnitude_on_updates(model: Model, update: Update, k: float) -> None:
    by_change = regularizers.get("rect")(update, model, k=k)
    by_size = regularizers.get("magnitude")(update, model, k=k)
    for name in update:
        dense = update.dense(name)
        assert exact(by_change.dense(name), brute_force(dense, model.weight(name), k))
        assert exact(by_size.dense(name), brute_force(dense, torch.ones_like(dense), k))
    assert list(by_change) == list(update)
    assert by_change.provenance == {"method": "rome", "regularizer": {"name": "rect", "k": k, "seed": 0}}


def test_masks_are_taken_against_the_weights_of_the_moment(model: Model, update: Update) -> None:
    before = regularizers.rect(update, model, k=20)
    model.weights["a"] = model.weights["a"] * torch.linspace(0.01, 100, 20)
    after = regularizers.rect(update, model, k=20)
    assert exact(after.dense("a"), brute_force(update.dense("a"), model.weights["a"], 20))
    assert not torch.equal(before.dense("a"), after.dense("a"))
    assert torch.equal(before.dense("b"), after.dense("b"))


@pytest.mark.parametrize(
    "name", ["rect", "random", "magnitude", "none", "rect-feedback", "sphere", "null-space", "prune"]
)
def test_all_is_bit_identical_to_none(name: str, model: Model, update: Update) -> None:
    kept = regularizers.get(name)(update, model, k=100)
    for matrix in update:
        assert torch.equal(kept.dense(matrix).view(torch.int32), update.dense(matrix).view(torch.int32))
        assert type(kept[matrix]) is type(update[matrix])


class TestRandom:
    def test_counts_and_values(self, model: Model, update: Update) -> None:
        for k in (3, 40, 77):
            kept = regularizers.random(update, model, k=k, seed=1)
            for name in update:
                dense, left_over = update.dense(name), kept.dense(name)
                assert int((left_over != 0).sum()) == round(k / 100 * dense.numel())
                assert torch.equal(left_over[left_over != 0], dense[left_over != 0])

    def test_masks_are_nested_in_k(self, model: Model, update: Update) -> None:
        masks = [regularizers.random(update, model, k=k, seed=9).dense("a") != 0 for k in (1, 20, 21, 40, 95)]
        for small, large in itertools.pairwise(masks):
            assert bool((large | ~small).all())
            assert int(large.sum()) > int(small.sum())

    def test_the_seed_and_the_name_decide(self) -> None:
        delta = torch.ones(30, 40)
        update, model = Update({"a": Dense(delta), "b": Dense(delta)}), Model()
        first = regularizers.random(update, model, k=40, seed=1)
        assert torch.equal(first.dense("a"), regularizers.random(update, model, k=40, seed=1).dense("a"))
        assert not torch.equal(first.dense("a"), regularizers.random(update, model, k=40, seed=2).dense("a"))
        assert not torch.equal(first.dense("a"), first.dense("b"))

    def test_the_mask_is_the_same_for_ever(self) -> None:
        """A stored result must be reproducible by later versions."""
        kept = regularizers.random(Update({"a": Dense(torch.ones(2, 8))}), Model(), k=25, seed=0)
        assert torch.nonzero(kept.dense("a")).tolist() == [[0, 3], [0, 4], [1, 1], [1, 4]]

    def test_it_is_uniform(self) -> None:
        """Each of 8 elements is kept in about half of the draws: chi-square with 7 degrees of freedom, p = 0.001."""
        update = Update({"a": Dense(torch.ones(8))})
        counts = sum(regularizers.random(update, Model(), k=50, seed=seed).dense("a") for seed in range(800))
        assert float((((counts - 400) ** 2) / 200).sum()) < 24.3
        assert float(counts.sum()) == 3200


class TestPrincipalComponents:
    @pytest.mark.parametrize("shape", [(30, 12), (12, 30), (16, 16)])
    @pytest.mark.parametrize("k", [10, 25, 50, 90])
    def test_against_scikit_learn(self, shape: tuple[int, int], k: float) -> None:
        matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(3)) + 1.5
        update, n = Update({"a": Dense(matrix)}), round(k / 100 * min(shape))
        reference = PCA(n_components=n, svd_solver="full")
        scores = reference.fit_transform(matrix.numpy())
        rebuilt = regularizers.pca(update, Model(), k=k).dense("a")
        np.testing.assert_allclose(rebuilt, reference.inverse_transform(scores), atol=2e-5)
        released = regularizers.pca_release(update, Model(), k=k).dense("a").numpy()
        assert released.shape == shape
        np.testing.assert_allclose(released[:, :n], scores, atol=2e-5)
        assert not released[:, n:].any()

    @pytest.mark.parametrize("rank", [1, 3])
    @pytest.mark.parametrize("k", [5, 10, 40, 100])
    def test_factors_give_what_the_matrix_gives(self, rank: int, k: float) -> None:
        generator = torch.Generator().manual_seed(rank)
        factors = LowRank(torch.randn(40, rank, generator=generator), torch.randn(rank, 20, generator=generator))
        thin, thick = Update({"a": factors}), Update({"a": Dense(factors.dense())})
        for regularizer in (regularizers.pca, regularizers.pca_release):
            kept = regularizer(thin, Model(), k=k)
            assert isinstance(kept["a"], LowRank)
            assert kept["a"].rank <= rank + 1
            torch.testing.assert_close(
                kept.dense("a"), regularizer(thick, Model(), k=k).dense("a"), atol=1e-4, rtol=1e-4
            )

    def test_a_rank_one_update_comes_back_whole(self) -> None:
        update = Update({"a": LowRank(torch.randn(30, 1), torch.randn(1, 20))})
        assert torch.equal(regularizers.pca(update, Model(), k=5).dense("a"), update.dense("a"))

    def test_the_release_leaves_one_column_of_a_rank_one_update(self) -> None:
        left, right = torch.randn(30, 1), torch.randn(1, 20)
        kept = regularizers.pca_release(Update({"a": LowRank(left, right)}), Model(), k=40).dense("a")
        assert not kept[:, 1:].any()
        torch.testing.assert_close(kept[:, 0].abs(), ((left - left.mean()) * right.norm())[:, 0].abs())

    def test_a_vector_has_none(self) -> None:
        with pytest.raises(InputError, match=r"norm has shape \(4,\)"):
            regularizers.pca(Update({"norm": Dense(torch.ones(4))}), Model(), k=40)


@pytest.mark.parametrize("name", list(regularizers.REGULARIZERS))
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("k", [40, 100])
def test_what_is_not_finite_is_refused_by_name(name: str, bad: float, k: float, model: Model, update: Update) -> None:
    left = torch.randn(12, 2)
    left[3, 1] = bad
    broken = Update({"b": update["b"], "a": LowRank(left, torch.randn(2, 20))})
    with pytest.raises(UpdateError, match="update of a holds NaN or infinity"):
        regularizers.get(name)(broken, model, k=k)
    matrix = torch.randn(20, 12)
    matrix[7, 7] = bad
    with pytest.raises(UpdateError, match="update of b holds NaN or infinity"):
        regularizers.get(name)(Update({"a": update["a"], "b": Dense(matrix)}), model, k=k)


def test_a_product_that_overflows_is_not_finite(model: Model) -> None:
    broken = Update({"a": LowRank(torch.full((12, 1), 1e30), torch.full((1, 20), 1e30))})
    with pytest.raises(UpdateError, match="update of a"):
        regularizers.rect(broken, model, k=40)


def test_keep_top_refuses_what_is_not_finite() -> None:
    with pytest.raises(UpdateError, match="NaN or infinity"):
        keep_top(torch.tensor([1.0, math.nan]), torch.ones(2), 50)


@pytest.mark.parametrize("name", [n for n in regularizers.REGULARIZERS if n != "none"])
@pytest.mark.parametrize("k", [0, -1, 100.5, math.nan, True, "40"])
def test_k_out_of_range(name: str, k: object, model: Model, update: Update) -> None:
    with pytest.raises(InputError, match="above 0 and at most 100"):
        regularizers.get(name)(update, model, k=k)


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match=r"\(2, 3\).*\(3, 2\)"):
        keep_top(torch.ones(2, 3), torch.ones(3, 2), 40)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'recct' is not known; did you mean 'rect'\? known: none, rect, random"):
        regularizers.get("recct")


def test_inputs_are_left_alone(model: Model, update: Update) -> None:
    before = {name: (update.dense(name).clone(), model.weight(name).clone()) for name in update}
    for regularizer in regularizers.REGULARIZERS.values():
        regularizer(update, model, k=40, seed=0)
    for name, (dense, weight) in before.items():
        assert torch.equal(update.dense(name), dense)
        assert torch.equal(model.weight(name), weight)


def test_shares_of_a_sparse_update() -> None:
    """As with KN: RECT at 20% keeps all of an update that touches 10% of the elements."""
    matrix = torch.zeros(10, 10)
    matrix[0] = 1.0
    raw, model = Update({"a": Dense(matrix), "b": Dense(torch.ones(10, 10))}), Model(a=torch.ones(10, 10), b=matrix + 1)
    shares = regularizers.shares(raw, regularizers.rect(raw, model, k=20))
    assert shares == {
        "a": {"share_kept": 0.1, "share_nonzero_kept": 1.0},
        "b": {"share_kept": 0.2, "share_nonzero_kept": 0.2},
    }
    nothing = Update({"a": Dense(torch.zeros(2, 2))})
    assert regularizers.shares(nothing, nothing) == {"a": {"share_kept": 0.0, "share_nonzero_kept": 1.0}}
