"""What a tuning tries, gives up and picks: against brute force over all settings."""

from __future__ import annotations

import math
import random

import pytest

from modelfolder.errors import InputError
from rect import fact_files
from sweeps.plan import tuning
from sweeps.plan.tuning import Operation, Setting


def setting(success: list[float], drift: list[float], wanted: int | None = None) -> Setting:
    done = tuple(Operation((s,), (s,), d, 0.0) for s, d in zip(success, drift, strict=True))
    return Setting({"name": (tuple(success), tuple(drift))}, done, (1,) * (wanted or len(done)))


def by_hand(table: list[tuple[float, float]]) -> tuple[float, float]:
    """The rule, of two facts: within a quarter of the best success the least drift, of these the most success."""
    best = max(success for success, _ in table)
    near = [(drift, -success) for success, drift in table if best - success <= 0.25]
    drift, success = min(near)
    return -success, drift


def test_pick_is_the_rule() -> None:
    draw = random.Random(0)
    for _ in range(300):
        settings = [
            setting([draw.choice([0, 0.25, 0.5, 1, draw.random()]) for _ in range(2)], [draw.random(), draw.random()])
            for _ in range(draw.randint(1, 8))
        ]
        found = tuning.pick(settings)
        assert found is not None
        assert (found.success, found.drift) == by_hand([(one.success, one.drift) for one in settings])


def test_giving_up_changes_nothing_that_is_picked() -> None:
    """All settings measured to the end, against a search that gives up: the same pick, with fewer operations."""
    draw, spared = random.Random(1), 0
    for _ in range(300):
        facts = draw.randint(1, 6)
        whole = [
            setting(
                [draw.choice([0.0, 0.5, 1.0, 1.0, 1.0]) for _ in range(facts)],
                [draw.choice([0.01, 0.02, 0.1, 0.3]) for _ in range(facts)],
            )
            for _ in range(6)
        ]
        seen: list[Setting] = []
        for one in whole:
            for count in range(1, facts + 1):
                part = Setting(one.values, one.operations[:count], one.sizes)
                if tuning.hopeless(part, seen):
                    break
            spared += facts - count
            seen.append(part)
        expected, found = tuning.pick(whole), tuning.pick(seen)
        assert expected is not None
        assert found is not None
        assert (found.success, found.drift) == (expected.success, expected.drift)
    assert spared > 150


@pytest.mark.parametrize(("facts", "near"), [(1, 0.5), (6, 0.5 / 6), (25, 0.02), (100, 0.02)])
def test_of_few_facts_half_a_fact_is_as_good(facts: int, near: float) -> None:
    assert tuning.tolerance(facts) == pytest.approx(near)


def test_one_that_failed_or_is_not_whole_is_not_picked() -> None:
    failed = Setting({}, (Operation((), (), math.nan, 1.0, "NaN"),), (1,))
    part = setting([1.0], [0.0], wanted=2)
    assert tuning.pick([failed, part]) is None
    good = setting([0.5, 0.5], [1.0, 1.0])
    assert tuning.pick([failed, part, good]) is good
    assert not tuning.hopeless(good, [failed, part])


def test_a_fact_without_rephrasings_counts_by_its_reliability() -> None:
    operation = Operation((1.0, 0.5), (math.nan, 0.0), 0.1, 1.0)
    assert operation.success == [1.0, 0.25]
    one = Setting({}, (operation,), (2, 4))
    assert one.most_success == pytest.approx((1.25 + 4) / 6)
    assert one.least_drift == pytest.approx(0.05)


def test_the_split_is_fixed_and_has_no_fact_twice() -> None:
    facts = fact_files.bundled()
    seen, unseen = tuning.split(facts)
    assert len(seen) == len(facts) // 2
    assert sorted(one.id or "" for one in (*seen, *unseen)) == sorted(one.id or "" for one in facts)
    assert [one.id for one in tuning.split(facts)[0][:2]] == [one.id for one in seen[:2]]
    assert [one.id for one in tuning.split(facts, seed=1)[0]] != [one.id for one in seen]


def test_candidates_are_runs_around_the_largest_effects() -> None:
    effects = [0.0, 0.1, 0.5, 0.4, 0.2, 0.9]
    assert tuning.candidates(effects, 1, 3) == [[2], [3], [4]]  # never the last layer
    assert tuning.candidates(effects, 3, 9) == [[1, 2, 3], [2, 3, 4], [0, 1, 2]]
    assert tuning.candidates([0.3, 0.2], 5, 9) == [[0]]


def test_choices_hold_what_is_used_now() -> None:
    found = tuning.choices("rome", ["layers", "v_lr"], [[3], [4]], {"layers": [9], "v_lr": 0.3})
    assert found == {"layers": [[3], [4], [9]], "v_lr": [0.1, 0.2, 0.5, 1.0, 0.3]}


@pytest.mark.parametrize(
    ("method", "key", "told"),
    [
        ("mend", "layers", "--method mend: cannot be tuned"),
        ("kn", "layers", "--vary layers: "),
        ("rome", "v_lrr", "v_lr"),
    ],
)
def test_what_cannot_be_looked_for(method: str, key: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        tuning.check(method, [key])
