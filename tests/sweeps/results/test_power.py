"""What a plan can tell, against sweeps made up afterwards: half-widths, and what is found four times in five."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from modelfolder.errors import InputError
from sweeps.commands import show_power
from sweeps.commands.show_power import Planned
from sweeps.plan.identity import make_plan
from sweeps.results import intervals, power, units, variances
from sweeps.store.schema import OUTPUTS, ROWS
from sweeps.store.store import Store
from tests.sweeps.small import small_config
from tests.sweeps.synthetic_rows import row, unedited
from tests.tiny import save_tiny

SPREAD, SKILL = 0.06, {"rect": 0.7, "random": 0.55}


def models(
    seeds: int, examples: int, facts: int, random: np.random.Generator
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Per regularizer and seed: which examples of a task and which facts are right. Some are hard for all."""
    hard, found = random.normal(0, 0.2, examples), {name: [] for name in SKILL}
    for _ in range(seeds):
        tough = random.normal(0, 0.2, facts)
        for name, skill in SKILL.items():
            p = skill + random.normal(0, SPREAD)
            right = {"nli": random.random(examples) < p + hard, "reliability": random.random(facts) < p + tough}
            found[name].append({what: values.astype(float) for what, values in right.items()})
    return found


def tables(made: dict[str, list[dict[str, np.ndarray]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    lines: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    for name, each in made.items():
        for seed, right in enumerate(each):
            cell, ids = f"{name}{seed}", {"regularizer": name, "k": 40.0, "seed": seed}
            nli, facts = right["nli"], right["reliability"]
            lines.append(row(cell, 9, "task", "nli/score", nli.mean(), n=len(nli), evaluation="e", **ids))
            lines.append(row(cell, 9, "edit", "reliability/token_accuracy", facts.mean(), n=len(facts), **ids))
            lines += [
                row(cell, 9, "edit", f"reliability/token_accuracy/fact-{i}", v, **ids) for i, v in enumerate(facts)
            ]
            same = {"cell": cell, "n_edits": 9, "task": "nli", "evaluation": "e"}
            outputs += [same | {"index": i, "score": v} for i, v in enumerate(nli)]
    return pd.DataFrame(lines), pd.DataFrame(outputs)


def measured(right: dict[str, np.ndarray], what: str) -> units.Measured:
    values = right[what]
    return units.ratio(values, np.ones(len(values)), what, what, common=what == "nli")


@pytest.mark.parametrize(("what", "seeds", "size"), [("nli", 3, 200), ("nli", 6, 60), ("reliability", 5, 80)])
def test_what_is_promised_is_what_a_run_then_shows(what: str, seeds: int, size: int) -> None:
    random = np.random.default_rng(7)
    seen = variances.read(*tables(models(80, 120, 40, random)))  # of fewer seeds the spread itself is uncertain
    (found,) = show_power.outlooks(what, seen, Planned(seeds, size, (("nli", size),))).values()
    halves, shown = [], 0
    for _ in range(300):
        made = models(seeds, size, size, random)
        own = intervals.mean([measured(one, what) for one in made["rect"]])
        halves.append((own.high - own.low) / 2)
        pairs = zip(made["rect"], made["random"], strict=True)
        change = intervals.mean([units.difference(measured(a, what), measured(b, what)) for a, b in pairs])
        # The regularizers differ by 0.15; moved so that they differ by the smallest difference that is promised.
        moved = change.value - (SKILL["rect"] - SKILL["random"]) + found.smallest
        shown += abs(moved) > stats.t.ppf(0.975, change.df) * change.stderr
    assert found.half == pytest.approx(np.mean(halves), rel=0.2)
    assert shown / 300 == pytest.approx(0.8, abs=0.12)


def test_the_smallest_difference_is_found_four_times_in_five() -> None:
    for df in (1, 2, 4, 20, 1e6):
        distance = power.needed(df)
        edge = stats.t.ppf(0.975, df)
        random = np.random.default_rng(0)
        drawn = (random.normal(distance, 1, 200_000)) / np.sqrt(random.chisquare(df, 200_000) / df)
        assert (np.abs(drawn) > edge).mean() == pytest.approx(0.8, abs=0.005)
    assert power.needed(1e6) == pytest.approx(1.96 + 0.8416, abs=0.001)


def test_sources_are_told_apart() -> None:
    random = np.random.default_rng(1)
    made = [measured(one, "nli") for one in models(40, 400, 5, random)["rect"]]
    found = power.sources(made)
    assert found is not None
    assert math.sqrt(found.between) == pytest.approx(SPREAD, rel=0.35)
    assert found.common == pytest.approx(0.04, rel=0.4)  # 0.2 squared
    assert found.own + found.common == pytest.approx(0.7 * 0.3, rel=0.15)


def test_one_seed_tells_no_regularizers_apart() -> None:
    seen = variances.read(*tables(models(1, 120, 40, np.random.default_rng(2))))
    (first, second) = show_power.outlooks("nli", seen, Planned(3, 9, (("nli", 500),))).items()
    assert (first[0], second[0]) == show_power.SPREADS
    assert first[1].smallest < second[1].smallest
    alone = show_power.outlooks("nli", seen, Planned(1, 9, (("nli", 500),)))
    assert all(math.isnan(one.smallest) for one in alone.values())


def test_of_the_unedited_model_the_binomial_is_known() -> None:
    lines = [row("u", 0, "task", "nli/score", 0.7, stderr=math.sqrt(0.21 / 99), n=100, **unedited())]
    seen = variances.read(pd.DataFrame(lines), pd.DataFrame())
    assert set(seen) == {"nli", "all tasks"}
    found = show_power.outlooks("nli", seen, Planned(1, 9, (("nli", 400),)))[0.02]
    assert found.half == pytest.approx(1.96 * math.sqrt(0.21 / 400), rel=0.02)
    assert show_power.outlooks("nli", seen, Planned(3, 9, (("ner", 400),))) == {}


def test_the_mean_over_tasks_is_surer_than_one() -> None:
    seen = variances.read(*tables(models(8, 100, 5, np.random.default_rng(3))))
    one = next(iter(show_power.outlooks("nli", seen, Planned(4, 9, (("nli", 100),))).values()))
    same = next(iter(show_power.outlooks("all tasks", seen, Planned(4, 9, (("nli", 100),))).values()))
    assert same.half == pytest.approx(one.half)
    source = power.Sources(0.001, 0.2, 0.03)
    mean, units_of_all = power.together([(source, 100.0), (source, 100.0)], 0.001)
    assert units_of_all == 200
    assert power.outlook(mean, mean, 4, 200).half == pytest.approx(power.outlook(source, source, 4, 200).half)


def test_a_plan_says_it_in_words(tmp_path: Path) -> None:
    folder = str(tmp_path / "rehearsal")
    store = Store(folder)
    store.begin()
    rows, outputs = tables(models(3, 60, 9, np.random.default_rng(4)))
    rows, outputs = rows.reindex(columns=ROWS.names), outputs.reindex(columns=OUTPUTS.names)
    blank = dict.fromkeys(("prompt", "output", "gold"), "")
    store.write(
        "a", 9, rows.assign(**{"pass": ""}).to_dict("records"), outputs.assign(unit="", **blank).to_dict("records")
    )
    save_tiny("llama", tmp_path / "model")
    for seeds, said in (
        ([0, 1, 2], r"nli +0\.\d{3}  \+- \d\.\d{3}, no difference that scores can have"),
        ([0], r"nli +0\.\d{3}  \+- \d\.\d{3} for one edited model; one seed cannot tell regularizers apart"),
    ):
        plan = make_plan(small_config(tmp_path / "model", seeds=seeds))
        told = list(show_power.lines(plan, folder))
        assert told[0].startswith(f"power by the rows in {folder} (3 seeds): half of a 95% interval")
        assert told[2] == f"  {len(seeds)} seed{'s' * (len(seeds) > 1)}, 3 facts"
        assert any(re.search(said, line) for line in told)
        assert not any("ner" in line.split() for line in told)
    planned = make_plan(small_config(tmp_path / "model", seeds=[*range(9)], tasks={"names": ["nli"], "examples": 12}))
    assert any(
        re.search(r"nli .* differences of [\d.]+ points or more", line) for line in show_power.lines(planned, folder)
    )
    with pytest.raises(InputError, match="there are no rows in this folder"):
        list(show_power.lines(plan, str(tmp_path / "nothing")))
