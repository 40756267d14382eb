"""configs/paper-methods.yaml is the paper's grid, no more and no less, with the released hyperparameters."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from rect import hub
from rect.editors import EDITORS, hyperparameters
from sweeps.commands import app
from sweeps.config import config
from sweeps.config.training import load as load_training
from sweeps.plan import grid
from sweeps.plan.identity import covariance_recipe

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
FILE = CONFIGS / "paper-methods.yaml"
GPT2, LLAMA1, LLAMA2 = "openai-community/gpt2-xl", "huggyllama/llama-7b", "meta-llama/Llama-2-7b-hf"
SEVEN = [("none", None), *(("rect", k) for k in (80.0, 60.0, 40.0, 20.0)), ("random", 40.0), ("pca-release", 40.0)]
NONE = SEVEN[:1]
SEQUENTIAL, SINGLE, BATCHES = "instance-sequential", "batch-single", "batch-sequential"

# Figures 3, 4, 7, 8, 9 to 16: (setting, method, models, batch sizes, points, regularizers)
POINTS: list[tuple[str, str, tuple[str, ...], tuple[int, ...], tuple[int, ...], list[tuple[str, float | None]]]] = [
    (SEQUENTIAL, "kn", (GPT2, LLAMA1, LLAMA2), (1,), (1, 2, 3, 4), NONE),
    (SEQUENTIAL, "rome", (GPT2,), (1,), (5, 10, 15, 20), SEVEN),
    (SEQUENTIAL, "rome", (LLAMA1, LLAMA2), (1,), (2, 4, 6, 8, 10), SEVEN),
    (SINGLE, "mend", (GPT2,), (1, 5, 10), (1,), NONE),
    (SINGLE, "mend", (LLAMA1, LLAMA2), (5, 10, 15, 20), (1,), NONE),
    (SINGLE, "memit", (GPT2,), (1, 10, 100, 1000, 2000, 3000), (1,), SEVEN),
    (SINGLE, "memit", (LLAMA1, LLAMA2), (1, 5, 10), (1,), SEVEN),
    (BATCHES, "mend", (GPT2,), (10, 30, 50), (10, 20, 30, 40, 50), NONE),
    (BATCHES, "memit", (GPT2,), (10, 30, 50), (10, 20, 30, 40, 50), NONE),
    (BATCHES, "mend", (LLAMA1, LLAMA2), (2, 3, 4), (2, 4), NONE),
    (BATCHES, "memit", (LLAMA1, LLAMA2), (2, 3, 4), (2, 4), NONE),
]


def papers_cells() -> set[tuple[Any, ...]]:
    edited = {
        (model, method, setting, batch_size, regularizer, k, points)
        for setting, method, models, batch_sizes, points, levels in POINTS
        for model in models
        for batch_size in batch_sizes
        for regularizer, k in levels
    }
    return edited | {(model, None, grid.UNEDITED, 0, "none", None, (0,)) for model in (GPT2, LLAMA1, LLAMA2)}


def method_of(cell: grid.Cell) -> str | None:
    return cell.method.name if cell.method else None


def test_the_cells_are_the_papers() -> None:
    cells, _ = grid.expand(config.load(FILE))
    found = [
        (one.model.name, method_of(one), one.setting, one.batch_size, one.regularizer, one.k, one.checkpoints)
        for one in cells
    ]
    assert len(found) == len(set(found)) == 140
    assert set(found) == papers_cells()


RELEASED = {
    ("rome", GPT2): {"layers": [17], "v_num_grad_steps": 20, "v_lr": 0.5, "v_weight_decay": 0.5},
    ("rome", LLAMA1): {"layers": [5], "v_num_grad_steps": 25, "v_lr": 0.5, "v_weight_decay": 1e-3},
    ("memit", GPT2): {
        "layers": [13, 14, 15, 16, 17],
        "v_num_grad_steps": 20,
        "v_lr": 0.5,
        "v_weight_decay": 0.5,
        "clamp_norm_factor": 0.75,
        "mom2_update_weight": 20_000,
    },
    ("memit", LLAMA1): {
        "layers": [4, 5, 6, 7, 8],
        "v_num_grad_steps": 25,
        "v_lr": 0.5,
        "v_weight_decay": 1e-3,
        "clamp_norm_factor": 4,
        "mom2_update_weight": 15_000,
    },
    ("kn", GPT2): {"steps": 20, "adaptive_threshold": 0.2, "p": 0.4, "refine": False, "lr_scale": 1.0},
    ("kn", LLAMA1): {"steps": 1, "adaptive_threshold": 0.2, "p": 0.4, "refine": False, "lr_scale": 1.0},
}
COMMON = {
    "rome": {"clamp_norm_factor": 4, "kl_factor": 0.0625, "mom2_adjustment": False},
    "memit": {"kl_factor": 0.0625, "mom2_adjustment": True},
    "kn": {"neurons": "projection"},
}


@pytest.mark.parametrize("model", [GPT2, LLAMA1, LLAMA2])
@pytest.mark.parametrize("method", ["rome", "memit", "kn"])
def test_hyperparameters_are_the_released_ones(method: str, model: str) -> None:
    (spec,) = (one for one in config.load(FILE).methods if one.name == method)
    declared = hyperparameters.declared(EDITORS[method].hparams_class, spec.hparams, model)
    wanted = {**RELEASED[method, GPT2 if model == GPT2 else LLAMA1], **COMMON[method]}
    assert {key: declared[key] for key in wanted} == wanted


def test_covariances_are_those_of_a_hundred_thousand_texts_of_wikipedia() -> None:
    loaded = config.load(FILE)
    (memit,) = (one for one in loaded.methods if one.name == "memit")
    recipe = covariance_recipe(loaded.models[0], memit, None)
    assert (recipe.corpus.source, recipe.corpus.samples, recipe.tokens) == ("wikipedia", 100_000, "all")


@pytest.mark.parametrize("name", ["gpt2-xl", "llama-7b"])
def test_mend_is_trained_as_released(name: str) -> None:
    training = load_training(CONFIGS / "mend" / f"{name}.yaml").training
    assert (training.blocks, training.rank, training.batch_size, training.accumulate) == (3, 1920, 1, 10)
    assert (training.lr, training.edit_lr, training.lr_lr) == (1e-6, 1e-4, 1e-4)
    assert (training.cedit, training.cloc, training.iterations) == (0.1, 1.0, 100_000)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever asks for an address or a connection fails the test, wherever the error is swallowed."""
    asked: list[Any] = []
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert asked == []


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    with pytest.raises(SystemExit) as leaving:
        app.main(["plan", str(FILE), *arguments])
    told = capsys.readouterr()
    assert leaving.value.code == 0, told.err
    return told.out.splitlines()


@pytest.mark.usefixtures("no_network")
def test_plan_prints_every_cell_and_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = planned(capsys)
    assert lines[0] == "140 cells, 0 done in results/paper-methods; 262 checkpoints to do"
    cells, dropped = grid.expand(config.load(FILE))
    for cell in cells:
        assert sum(line.startswith(f" to do  {cell}") for line in lines) == 1, cell
    assert sum(line.startswith(" to do  ") for line in lines) == 140
    assert f" to do  {LLAMA1} rome instance-sequential rect 20% seed=0 at 2, 4, 6, 8, 10 edits" in lines
    assert [line for line in lines if line.startswith("dropped ")] == [f"dropped {a}: {b}" for a, b in dropped]
    notes = [line for line in lines if line.startswith("note ")]
    assert notes[-1].startswith("note facts: the edit set has 113 facts, up to 3000 are edited in a cell: they")
    untested = [line for line in notes if ": untested here; their source: PROTOCOL" in line]
    assert len(untested) == 9, "three methods on three models, each once; MEND takes all from its checkpoint"
    absent = [line for line in notes if "not found here, neither as a folder nor in the hub's cache" in line]
    assert len(absent) == 3
    assert len(notes) == 2 + len(absent) + len(untested)
    assert notes[3].startswith(
        "note kn under rect 80, 60, 40, 20%: not in this grid; it keeps everything, as none does,"
    )
    needed = [line for line in lines if line.startswith("needed ")]
    assert len(needed) == 3
    assert "`sweeps train-mend configs/mend/llama-7b.yaml --set model=huggyllama/llama-7b`" in needed[1]


@pytest.mark.usefixtures("no_network")
def test_plan_lists_the_cells_also_where_data_lie_on_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    lines = planned(capsys, "--set", "edits.source=nobody/no-such-facts", "--set", "tasks.source=hub")
    assert lines[0].startswith("140 cells; which are done is not known before sweeps run has downloaded the edits")
    assert sum(line.startswith("        ") for line in lines) == 140
    assert not any(line.startswith("note facts:") for line in lines), "nothing is known of facts that are not here"


def test_within_offline_nothing_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from huggingface_hub import constants

    for before in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", before)
        with hub.offline():
            assert constants.is_offline_mode()
            assert datasets.config.HF_HUB_OFFLINE
        assert constants.is_offline_mode() is before
        assert datasets.config.HF_HUB_OFFLINE is before


@pytest.mark.usefixtures("no_network")
def test_run_refuses_what_has_no_hypernetwork(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        app.main(["run", str(CONFIGS / "methods-demo.yaml")])
    (line,) = capsys.readouterr().err.splitlines()
    assert leaving.value.code == 2
    assert "run `sweeps train-mend configs/mend/smollm2-135m.yaml`" in line
    assert not Path("results").exists()
