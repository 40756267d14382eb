"""Looking for k, with the real editor on a tiny model: what is found, what it costs, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from modelfolder.errors import InputError
from sweeps.config.config import Config
from sweeps.plan import search
from sweeps.plan.identity import make_plan
from sweeps.report import gather
from sweeps.results import tradeoff
from sweeps.run import driver
from sweeps.store.store import Store
from tests.sweeps.small import computed, run_here, small_config
from tests.tiny import save_tiny

KS = [float(k) for k in range(1, 11)]
HPARAMS = {
    "layers": [1],
    "mom2_adjustment": False,
    "v_num_grad_steps": 60,
    "clamp_norm_factor": 20,
    "kl_factor": 0.0,
    "v_weight_decay": 0.0,
    "context_template_length_params": [[3, 2]],
}
ONE_EDIT: dict[str, Any] = {
    "methods": [{"name": "rome", "hparams": HPARAMS}],
    "settings": [{"kind": "batch-single", "batch_sizes": [1]}],
    "tasks": {"names": ["nli"], "examples": 2},
    "seeds": [3],  # of a fact that this model learns, and of which k = 2 keeps nothing
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("model"), initializer_range=0.05)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def exhaustive(folder: Path, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The whole grid over k with tasks, on two workers."""
    config = small_config(folder, **ONE_EDIT, regularizers=["none", {"name": "rect", "k": KS}])
    store = Store(tmp_path_factory.mktemp("grid"))
    assert driver.run(config, store.url) == driver.Outcome(done=12, failed=[], remaining=0)
    return store


def searching(folder: Path, **spec: Any) -> Config:
    return small_config(folder, **ONE_EDIT, regularizers=["none"], search=spec)


def test_ten_values_of_k_share_one_edit(exhaustive: Store) -> None:
    assert len(computed(exhaustive)) == 1


@pytest.mark.slow
def test_the_search_finds_what_the_whole_grid_finds(folder: Path, exhaustive: Store, tmp_path: Path) -> None:
    share = 0.94
    whole = tradeoff.smallest_k(tradeoff.tradeoff(exhaustive.rows()), share).iloc[0]
    config = searching(folder, **{"keep-at-least": share}, k=KS)
    outcome = driver.run(config, tmp_path)
    assert (outcome.failed, outcome.remaining) == ([], 0)
    check_search(config, Store(tmp_path), whole["k"])


def check_search(config: Config, store: Store, k: float) -> None:
    """The search found k, computed one update, and asked tasks at k alone."""
    plan = search.decided(make_plan(config), store)
    assert [cell.k for cell in plan.cells if cell.k is not None and cell.id not in plan.scanned] == [k]
    assert len(computed(store)) == 1
    rows = store.rows()
    assert set(rows[rows["kind"] == "task"]["k"].dropna()) == {k}
    assert set(rows[rows["kind"] == "edit"]["k"].dropna()) == set(KS)
    [found] = search.write_result(plan, store)
    assert f"k = {k:g} is the smallest of 10 values" in found.finding
    assert json.loads((Path(store.url) / search.RESULT).read_text())[0]["finding"] == found.finding
    material = gather.gather(store.url)
    assert [one.finding for one in material.search] == [found.finding]
    assert set(material.table["k"].dropna()) == {k}  # what was only looked at is no line of the trade-off
    assert (material.missing, material.left_out) == ([], 0)


def test_searching_step_by_step(folder: Path, tmp_path: Path) -> None:
    """The same without Ray: the scan, the choice, the chosen cell."""
    config = searching(folder, **{"keep-at-least": 0.94}, k=KS)
    store, plan = Store(tmp_path), make_plan(config)
    run_here(search.scan(plan), store)
    assert set(store.rows()["kind"]) == {"edit", "time"}
    search.pick(plan, store, search.chosen(plan, store.rows()))
    decided = search.decided(plan, store)
    run_here(decided, store)
    assert all(not decided.missing(cell, store.done()) for cell in decided.cells)
    store.folder.write("config.yaml", config.as_yaml().encode())
    table = tradeoff.tradeoff(store.rows())
    kept = table[table["regularizer"] == "rect"].set_index("k")["edit_retention"]
    assert kept.min() < 0.94 <= kept.max(), "an example in which k matters"
    check_search(config, store, kept[kept >= 0.94].index.min())


def test_another_search_in_the_same_folder_has_its_own_picks(folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = make_plan(searching(folder, **{"keep-at-least": 0.94}, k=KS))
    search.pick(plan, store, [cell for cell in plan.cells if cell.k == 5])
    other = make_plan(searching(folder, **{"keep-at-least": 0.5}, k=KS))
    assert len(search.decided(plan, store).scanned) == len(KS) - 1
    assert len(search.decided(other, store).scanned) == len(KS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"search": {}}, "one of keep-at-least"),
        ({"search": {"keep-at-least": 0.9, "optuna": {}}}, "one of keep-at-least"),
        ({"search": {"keep-at-least": 1.2}}, "search.keep_at_least"),
        ({"search": {"keep-at-laest": 0.9}}, "did you mean 'keep-at-least'"),
        ({"search": {"keep-at-least": 0.9, "regularizers": ["none"]}}, "nothing to search"),
        ({"search": {"optuna": {"low": 1, "high": 2, "step": 0.3}}}, "no whole number of steps"),
        ({"search": {"optuna": {}}, "tasks": {}}, "ability: perplexity"),
        (
            {"search": {"keep-at-least": 0.9}, "settings": [{"kind": "instance-sequential", "edits": 2}]},
            "use search.optuna",
        ),
    ],
)
def test_a_bad_search_is_bad_input(folder: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        small_config(folder, **{**ONE_EDIT, **changes})
