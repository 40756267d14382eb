"""The four methods of the paper side by side in one sweep, from training MEND to the table of the report."""

from __future__ import annotations

import pytest

from sweeps.commands import train_mend
from sweeps.config import training
from sweeps.plan.identity import make_plan
from sweeps.results.tradeoff import tradeoff
from sweeps.store.store import Store
from tests.sweeps.commands.test_train_mend import quiet, write
from tests.sweeps.small import STEPS, computed, run_here, small_config


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("methods")
    train_mend.train(training.load(write(folder)), quiet(), device="cpu")
    config = small_config(
        folder / "tiny",
        edits={"source": str(folder / "facts.jsonl")},
        methods=[
            "kn",
            {"name": "rome", "hparams": STEPS},
            {"name": "mend", "hparams": {"checkpoint": str(folder / "out")}},
            {"name": "memit", "hparams": {**STEPS, "mom2_adjustment": False, "layers": [1]}},
        ],
        settings=[
            {"kind": "instance-sequential", "methods": ["kn", "rome"], "edits": 2, "checkpoints": [1, 2]},
            {"kind": "batch-single", "methods": ["mend", "memit"], "batch_sizes": [4]},
            {"kind": "batch-sequential", "methods": ["mend", "memit"], "batch_sizes": [2], "edits": 2},
        ],
        regularizers=["none", {"name": "rect", "k": 40}, {"name": "random", "k": 40}],
        tasks={"names": ["nli"], "examples": 2},
    )
    made = Store(folder / "results")
    run_here(make_plan(config), made)
    run_here(make_plan(config), made)  # nothing is left to do
    return made


def test_every_cell_has_its_line_in_the_table(store: Store) -> None:
    table = tradeoff(store.rows())
    edited = table[table["setting"] != "unedited"]
    per_method = edited.groupby("method", observed=True).size().to_dict()
    assert per_method == {"kn": 3, "rome": 3, "mend": 6, "memit": 6}
    assert edited["reliability_token_accuracy"].notna().all()
    assert edited["locality_token_accuracy"].notna().all()
    updates = computed(store)
    assert len(updates) == len(set(updates)) == 2 * (1 + 3) + 2 * (1 + 1 + 3)


def test_rect_keeps_everything_of_a_sparse_update_and_random_does_not(store: Store) -> None:
    rows = store.rows()
    shares = rows[(rows["method"] == "kn") & rows["name"].str.endswith("share_nonzero_kept")]
    by_regularizer = shares.groupby("regularizer", observed=True)["value"]
    assert by_regularizer.min()["rect"] == 1.0
    assert by_regularizer.max()["random"] < 1.0
    edits = rows[(rows["method"] == "kn") & (rows["kind"] == "edit")]
    same = edits.pivot_table(index=["n_edits", "name"], columns="regularizer", values="value", observed=True)
    assert (same["none"] == same["rect"]).all()
    mend = rows[(rows["method"] == "mend") & (rows["regularizer"] == "rect")]
    assert mend[mend["name"].str.endswith("share_nonzero_kept")]["value"].max() < 0.5
