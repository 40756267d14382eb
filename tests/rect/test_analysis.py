"""Weight analyses against brute force over single elements, and against matrices whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rect
from rect import EditableModel, analysis, weights
from rect.regularizers import relative_change
from rect.update import Dense, LowRank, Update
from tests import tiny

NUMBERS = st.sampled_from([0.0, -1.0, 0.5, 0.01, 2.0, -0.3])


def matrices(rows: int = 3, cols: int = 4) -> st.SearchStrategy[torch.Tensor]:
    flat = st.lists(NUMBERS, min_size=rows * cols, max_size=rows * cols)
    return flat.map(lambda values: torch.tensor(values).reshape(rows, cols))


def brute(before: float, after: float) -> float:
    """|dW| / |W| of one element."""
    if before == 0:
        return 0.0 if after == 0 else math.inf
    return abs(after - before) / abs(before)


@settings(deadline=None, max_examples=30)
@given(matrices(), matrices())
def test_table_is_a_count_over_elements(before: torch.Tensor, delta: torch.Tensor) -> None:
    after = before + delta
    pairs = list(zip(before.flatten().tolist(), after.flatten().tolist(), strict=True))
    found = analysis.table(before, after, thresholds=(0.15, 0.9))
    assert found["manhattan"] == pytest.approx(sum(abs(b - a) for a, b in pairs), rel=1e-6)
    assert found["share_over_0.15"] == pytest.approx(sum(brute(a, b) > 0.15 for a, b in pairs) / 12)
    assert found["share_over_0.9"] == pytest.approx(sum(brute(a, b) > 0.9 for a, b in pairs) / 12)


def test_table_agrees_with_what_sweeps_record() -> None:
    model = EditableModel(*tiny.tiny_model("llama"))
    name = model.mlp_out_name(1)
    model.add(Update({name: LowRank(torch.full((64, 1), 0.01), torch.ones(1, 160))}))
    recorded = weights.statistics(model)[name]
    assert analysis.table(model.original(name), model.weight(name)) == pytest.approx(recorded)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=40), st.floats(0, 100))
def test_percentile_is_an_element_that_enough_do_not_exceed(values: list[float], percent: float) -> None:
    (found,) = analysis.percentiles(torch.tensor(values), [percent])
    assert found in np.float32(values)
    assert np.mean(np.float32(values) <= found) >= percent / 100 - 1e-9


def test_thresholds_of_the_data_give_the_shares_back() -> None:
    torch.manual_seed(0)
    before, delta = torch.randn(50, 40), torch.randn(50, 40)
    limits = analysis.percentiles(relative_change(delta, before))
    found = analysis.table(before, before + delta, limits)
    assert [value for name, value in found.items() if name.startswith("share_over")] == pytest.approx(
        [0.2, 0.1], abs=2e-3
    )
    assert analysis.percentiles(torch.tensor([1.0, math.inf]), [100]) == [math.inf]


def test_histogram_counts_every_element_once() -> None:
    change = torch.tensor([[0.0, 1e-7, 0.02, 0.0999], [0.2, 0.5, 1.5, math.inf]])
    found = analysis.histogram(change, bins=2, low=0.01, high=1.0)
    assert found.edges == pytest.approx((0.01, 0.1, 1.0))
    assert found.counts == (2, 2)
    assert (found.zero, found.below, found.above) == (1, 1, 2)
    assert found.total == 8
    with pytest.raises(rect.InputError, match="0 < low < high"):
        analysis.histogram(change, low=0.0)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 1e3, width=32), max_size=50))
def test_histogram_is_that_of_numpy(values: list[float]) -> None:
    found = analysis.histogram(torch.tensor(values), bins=7, low=1e-3, high=10.0)
    array = np.array(values, dtype=np.float32)
    inside = array[(array >= 1e-3) & (array < 10.0)]
    assert list(found.counts) == list(np.histogram(inside, np.geomspace(1e-3, 10.0, 8))[0])
    assert found.total == len(values)


def test_heat_map_pools_and_cuts_off() -> None:
    change = torch.zeros(4, 6)
    change[0, 0], change[0, 1], change[3, 5] = 0.4, math.inf, 0.8
    assert analysis.heat_map(change, (2, 3)).tolist() == [
        [pytest.approx((0.4 + 1.0) / 4), 0.0, 0.0],
        [0.0, 0.0, pytest.approx(0.2)],
    ]
    assert analysis.heat_map(change, (2, 3), cap=0.5, pool="max").tolist() == [[0.5, 0.0, 0.0], [0.0, 0.0, 0.5]]
    assert analysis.heat_map(change, (100, 100)).shape == (4, 6)  # never made larger
    assert float(analysis.heat_map(change, (3, 4)).max()) <= 1.0


def test_spectrum_of_known_matrices() -> None:
    orthogonal, _ = torch.linalg.qr(torch.randn(6, 6))
    found = analysis.spectrum(3 * orthogonal)
    assert found["condition_number"] == pytest.approx(1.0, rel=1e-4)
    assert found["effective_rank"] == pytest.approx(6.0, rel=1e-4)
    assert found["frobenius"] == pytest.approx(3 * math.sqrt(6), rel=1e-5)
    found = analysis.spectrum(torch.diag(torch.tensor([8.0, 2.0])))
    assert (found["spectral"], found["condition_number"]) == (pytest.approx(8.0), pytest.approx(4.0))
    assert found["effective_rank"] == pytest.approx(math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2)))
    found = analysis.spectrum(torch.zeros(3, 2))
    assert (found["condition_number"], found["effective_rank"]) == (math.inf, 0.0)


@settings(deadline=None, max_examples=30)
@given(matrices(4, 5), matrices(4, 5), st.sampled_from([10.0, 40.0, 100.0]))
def test_overlap_is_a_count_of_common_elements(a: torch.Tensor, b: torch.Tensor, k: float) -> None:
    def largest(change: torch.Tensor) -> set[int]:
        values = change.flatten().tolist()
        return set(sorted(range(20), key=lambda i: (-values[i], i))[: round(k / 5)])

    a, b = a.abs(), b.abs()
    wanted = len(largest(a) & largest(b)) / round(k / 5)
    assert analysis.overlap(a, b, k) == pytest.approx(wanted)
    assert analysis.overlap(a, a, k) == 1.0


def test_surviving_in_low_precision() -> None:
    before = torch.tensor([1.0, 1.0, 1.0, 1.0])
    delta = torch.tensor([0.001, 0.0, 0.01, -0.004])  # neighbours of 1 in bfloat16: 1 + 1/128 and 1 - 1/256
    assert analysis.surviving(before, delta, torch.bfloat16) == pytest.approx(2 / 3)
    assert analysis.surviving(before, delta, torch.float32) == 1.0
    assert math.isnan(analysis.surviving(before, torch.zeros(4), torch.bfloat16))


def test_trace_follows_a_sequence() -> None:
    model = EditableModel(*tiny.tiny_model("llama"))
    name, digest = model.mlp_out_name(0), model.digest()
    torch.manual_seed(1)
    updates = [Update({name: Dense(torch.randn(64, 160) * 0.01)}) for _ in range(3)]
    found = analysis.trace(model, updates, k=20)
    assert [record["n_edits"] for record in found] == [1, 2, 3]
    assert model.digest() == digest
    before = model.weight(name).clone()
    total = updates[0].dense(name) + updates[1].dense(name)
    second = found[1]
    assert second["manhattan"] == pytest.approx(float(total.abs().sum()), rel=1e-3)
    assert second["total_norm"] == pytest.approx(float(total.norm()), rel=1e-3)
    assert second["update_norm"] == pytest.approx(float(updates[1].dense(name).norm()), rel=1e-3)
    changes = (
        relative_change(updates[0].dense(name), before),
        relative_change(updates[1].dense(name), before + updates[0].dense(name)),
    )
    assert second["overlap"] == pytest.approx(analysis.overlap(*changes, k=20))
    assert math.isnan(found[0]["overlap"])
    assert second["frobenius_ratio"] == pytest.approx(float((before + total).norm() / before.norm()), rel=1e-4)
    assert 0 < second["surviving"] <= 1
    assert analysis.trace(model, iter(updates), [3], k=20)[0] == pytest.approx(found[2], nan_ok=True)


def test_the_model_comes_back_when_a_step_fails() -> None:
    model = EditableModel(*tiny.tiny_model("llama"))
    name, digest = model.mlp_out_name(0), model.digest()

    def broken():
        yield Update({name: Dense(torch.ones(64, 160))})
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        analysis.trace(model, broken())
    assert model.digest() == digest


def test_shapes_must_agree() -> None:
    with pytest.raises(rect.InputError, match=r"\(2, 3\) and \(3, 2\)"):
        analysis.table(torch.ones(2, 3), torch.ones(3, 2))


def test_it_is_there_without_an_import_of_its_own() -> None:
    assert rect.analysis is analysis
