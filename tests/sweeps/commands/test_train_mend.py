"""`sweeps train-mend`: the configuration, a training from a file to a checkpoint that edits, and its report."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from transformers import AutoTokenizer

from modelfolder.errors import InputError
from rect.editors.mend import files
from rect.editors.mend.editor import Mend, MendHparams
from rect.editors.mend.training import RESUME
from rect.model import EditableModel
from sweeps.commands import train_mend
from sweeps.config import training
from sweeps.run import mend_training
from tests.rect.editors.mend_facts import facts
from tests.tiny import save_tiny

CONFIGS = Path(__file__).parents[3] / "configs" / "mend"


def write(folder: Path, **more: str) -> Path:
    """A configuration of a training that takes a second, with its model and facts."""
    model = save_tiny("llama", folder / "tiny")
    (folder / "facts.jsonl").write_text("".join(fact.model_dump_json() + "\n" for fact in facts()))
    path = folder / "train.yaml"
    path.write_text(
        f"model: {model}\nfacts: {{source: {folder / 'facts.jsonl'}}}\nout: {folder / 'out'}\n"
        "training:\n  rank: 8\n  blocks: 2\n  lr: 1e-3\n  accumulate: 2\n  iterations: 8\n  validation: 4\n"
        "  validate_every: 4\n  held_out: 6\n  save_every: 4\n  normalize_over: 8\n"
    )
    return path


def quiet() -> Console:
    return Console(record=True, width=200, file=io.StringIO())


def test_from_a_file_to_an_edit(tmp_path: Path) -> None:
    config = training.load(write(tmp_path))
    console = quiet()
    held_out = train_mend.train(config, console, device="cpu")
    assert set(held_out) == {"1", "4"}  # six held-out facts do not fill a batch of 16
    text = console.export_text()
    assert "50 facts to train on, 4 to validate on, 6 held out" in text
    assert f"hparams: {{checkpoint: {config.folder}}}" in text
    report = json.loads((config.folder / train_mend.REPORT).read_text())
    assert report["held_out"]["1"] == held_out["1"]
    assert report["edits"] == 8

    model = EditableModel.load(str(tmp_path / "tiny"), device="cpu")
    editor = Mend.build(model, MendHparams(checkpoint=str(config.folder)), None, None)
    assert len(editor.compute(model, facts()[:2])) == 6

    again = quiet()
    assert train_mend.train(config, again, device="cpu") == held_out
    assert "goes on after 8 edits" in again.export_text()


def test_the_configurations_of_the_project_load() -> None:
    for path in CONFIGS.glob("*.yaml"):
        config = training.load(path)
        assert path.read_text().startswith(f"# sweeps train-mend configs/mend/{path.name}")
        assert config.folder.parts[:2] == ("results", "mend")
    paper = training.load(CONFIGS / "gpt2-xl.yaml").training
    assert (paper.rank, paper.lr, paper.edit_lr, paper.lr_lr) == (1920, 1e-6, 1e-4, 1e-4)
    assert (paper.cedit, paper.cloc, paper.accumulate, paper.iterations) == (0.1, 1.0, 10, 100_000)


def test_overrides(tmp_path: Path) -> None:
    config = training.load(write(tmp_path), ["training.rank=4", "model=org/other", "out=null"])
    assert config.training.rank == 4
    assert config.folder == Path("results/mend/other")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("rank: 8", "rang: 8", r"train.yaml:5: training.rang: this key is not known"),
        ("rank: 8", "rank: 0", r"train.yaml:5: training.rank: .* found 0"),
        ("lr: 1e-3", "lr: -1", r"train.yaml:7: training.lr: .* found -1"),
        ("save_every: 4", "save_every: 5", r"training: save_every must be a multiple of accumulate \(2\)"),
        ("facts:", "fakts:", r"unknown key 'fakts'.*did you mean 'facts'"),
        ("validation: 4", "validation: 90", r"60 facts are too few"),
        ("facts.jsonl", "nowhere.jsonl", r"nowhere.jsonl"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=reason) as caught:
        train_mend.train(training.load(path), quiet(), device="cpu")
    assert not re.search("\n", str(caught.value))


def test_facts_that_are_too_long_are_found_before_the_model_is_loaded(tmp_path: Path) -> None:
    config = training.load(write(tmp_path))
    file = tmp_path / "facts.jsonl"
    lines = file.read_text().splitlines()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    for extra in (0, 1):  # the context, and one token more: each "a" is one
        fact = json.loads(lines[6])
        rest = len(tokenizer(f"{fact['locality'][0]['prompt']} {fact['locality'][0]['answer']}")["input_ids"])
        fact["locality"][0]["prompt"] = "a" * (256 + extra - rest) + fact["locality"][0]["prompt"]
        whole = f"{fact['locality'][0]['prompt']} {fact['locality'][0]['answer']}"
        assert len(tokenizer(whole)["input_ids"]) == 256 + extra
        file.write_text("\n".join([*lines[:6], json.dumps(fact), *lines[7:]]))
        if not extra:
            assert len(mend_training.facts_for(config)) == 60
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(
        InputError, match=r"facts.jsonl, line 7: locality prompt 1 has 257 tokens, the model's context 256"
    ):
        train_mend.train(config, quiet(), device="cpu")


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    path = write(tmp_path)
    file = tmp_path / "out" / RESUME
    command = [sys.executable, "-m", "sweeps", "train-mend", str(path), "--set", "training.iterations=100000"]
    process = subprocess.Popen(
        [*command, "--set", "training.patience=100000", "--device", "cpu"],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 300
        while not file.exists() and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.05)
        time.sleep(1)  # somewhere in the midst of it
    finally:
        process.kill()
        process.wait()
    edits = files.read_header(file)["edits"]
    length = [f"training.iterations={edits + 20}", "training.patience=100000"]
    train_mend.train(training.load(path, length), quiet(), device="cpu")
    train_mend.train(training.load(path, [*length, f"out={tmp_path / 'whole'}"]), quiet(), device="cpu")
    resumed, whole = (files.read_header(tmp_path / name / RESUME) for name in ("out", "whole"))
    assert resumed["edits"] == whole["edits"] == edits + 20
    assert resumed["losses"] == pytest.approx(whole["losses"], rel=1e-4)  # thread counts may differ


@pytest.mark.slow
def test_workers_of_ray_train_leave_the_same_hypernetwork(tmp_path: Path) -> None:
    """Two workers, each with half of each step's edits: the same training as in one process, up to rounding."""
    path = write(tmp_path)
    alone = train_mend.train(training.load(path), quiet(), device="cpu")
    spread = training.load(path, ["workers=2", f"out={tmp_path / 'spread'}"])
    together = train_mend.train(spread, quiet(), device="cpu")
    assert together["1"] == pytest.approx(alone["1"], rel=1e-3)
    assert (spread.folder / "mend.safetensors").exists()
