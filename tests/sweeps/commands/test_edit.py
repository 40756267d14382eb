"""`sweeps edit`, `apply` and `regularize` from end to end on tiny models."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tiny import save_tiny

from modelfolder.errors import InputError
from rect import forcing
from rect.model import EditableModel
from rect.regularizers import keep_top
from sweeps.commands import app, edit

TARGET = "the Moon"
NAME = "model.layers.0.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def hparams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hparams") / "rome.yaml"
    path.write_text(
        "alg_name: ROME\nlayers: [0]\nv_num_grad_steps: 30\nv_lr: 0.5\nclamp_norm_factor: 10\nmom2_adjustment: false\n"
    )
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as leaving:
        app.main([str(argument) for argument in arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def of_edit(folder: Path, hparams: Path, *more: object) -> tuple[object, ...]:
    fact = ("--subject", "France", "--prompt", "The capital of {} is", "--target", TARGET)
    return ("edit", *fact, "--model", folder, "--hparams", hparams, "--device", "cpu", *more)


@pytest.fixture(scope="module")
def edited(folder: Path, hparams: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the exported model, its update and what was printed."""
    out = tmp_path_factory.mktemp("edited")
    (out / "prompts.txt").write_text("The Eiffel Tower is in\n\nWater boils at [bold]\n")
    request = edit.Request(
        "France", "The capital of {} is", TARGET, str(folder), hparams=hparams,
        prompts=out / "prompts.txt", save=str(out / "model"), save_update=out / "update.safetensors",
        new_tokens=4, device="cpu",
    )  # fmt: skip
    console = Console(record=True, width=160)
    edit.edit(request, console)
    (out / "printed.txt").write_text(console.export_text())
    return out


def test_probability_is_the_product_over_the_tokens(folder: Path) -> None:
    model = EditableModel.load(str(folder), device="cpu")
    prompt, target = "The capital of France is", TARGET
    probability, count = forcing.target_probability(model, prompt, target)
    ids = model.tokenizer(prompt)["input_ids"]
    tokens = model.tokenizer(f"{prompt} {target}")["input_ids"][len(ids) :]
    assert count == len(tokens) > 1
    product = 1.0
    for token in tokens:  # one step at a time, without teacher forcing
        with torch.no_grad():
            product *= float(model.hf(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)[token])
        ids = [*ids, token]
    assert probability == pytest.approx(product, rel=1e-4)


def test_edit_shows_before_and_after(edited: Path, folder: Path) -> None:
    printed = (edited / "printed.txt").read_text()
    line = next(line for line in printed.splitlines() if "probability of" in line)
    before, after = (float(cell) for cell in line.replace("|", "│").split("│")[-3:-1])
    model = EditableModel.load(str(folder), device="cpu")
    assert before == pytest.approx(forcing.target_probability(model, "The capital of France is", TARGET)[0], rel=1e-2)
    assert after > 10 * before
    assert "product over 4 tokens" in printed
    for prompt in ("The capital of France is", "The Eiffel Tower is in", "Water boils at [bold]"):
        assert prompt in printed
    assert NAME in printed
    assert "manhattan" in printed
    assert "100.0%" in printed  # nothing was left out


def test_saved_model_is_the_edited_one(edited: Path, folder: Path) -> None:
    before, after = load_file(folder / "model.safetensors"), load_file(edited / "model" / "model.safetensors")
    assert [name for name in before if not torch.equal(before[name], after[name])] == [NAME]
    reloaded = EditableModel.load(str(edited / "model"), device="cpu")
    shown = forcing.target_probability(reloaded, "The capital of France is", TARGET)[0]
    assert f"{shown:.3g}" in (edited / "printed.txt").read_text()


def test_apply_gives_the_same_model(edited: Path, folder: Path, tmp_path: Path) -> None:
    assert run("apply", folder, edited / "update.safetensors", "--save", tmp_path / "applied") == 0
    applied, saved = load_file(tmp_path / "applied/model.safetensors"), load_file(edited / "model/model.safetensors")
    assert applied.keys() == saved.keys()
    assert all(torch.equal(applied[name], saved[name]) for name in saved)


def test_regularize_two_checkpoints(
    edited: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        "regularize", folder, edited / "model", "--regularizer", "rect", "--k", "40", "--save", tmp_path / "kept"
    )
    assert code == 0
    before, after, kept = (
        load_file(f / "model.safetensors")[NAME] for f in (folder, edited / "model", tmp_path / "kept")
    )
    assert torch.equal(kept, before + keep_top(after - before, before, 40))
    count = int((kept != before).sum())
    assert count == pytest.approx(0.4 * before.numel(), rel=0.01)
    assert "40.0%" in capsys.readouterr().out


def test_edit_with_rect_keeps_k_percent(
    folder: Path, hparams: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert run(*of_edit(folder, hparams, "--regularizer", "rect", "--k", "40", "--save", out)) == 0
    before, after = load_file(folder / "model.safetensors")[NAME], load_file(out / "model.safetensors")[NAME]
    assert int((before != after).sum()) == pytest.approx(0.4 * before.numel(), rel=0.01)
    assert "rome, regularizer rect 40" in capsys.readouterr().out


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_regularize_takes_any_difference(family: str, tmp_path: Path) -> None:
    """A fine-tuned model differs everywhere: in norms, in biases, in the embedding that is the head too (GPT-2)."""
    folder = save_tiny(family, tmp_path / "base")
    model = EditableModel.load(str(folder), device="cpu")
    with torch.no_grad():
        for parameter in model.hf.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    model.save(tmp_path / "tuned")
    assert run("regularize", folder, tmp_path / "tuned", "--k", "20", "--save", tmp_path / "kept") == 0
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "kept/model.safetensors")
    for name, weight in before.items():
        share = float((weight != after[name]).float().mean())
        assert share == pytest.approx(0.2, abs=max(0.02, 1 / weight.numel())), name


def test_checkpoints_of_two_models_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_tiny("gpt2", tmp_path / "gpt2")
    wider = save_tiny("llama", tmp_path / "wider", intermediate_size=96)
    for second in (other, wider):
        assert run("regularize", folder, second, "--k", "40", "--save", tmp_path / "kept") == 2
        assert "not two checkpoints of one model" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


def test_update_of_another_model_is_refused(edited: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = save_tiny("gpt2", tmp_path / "gpt2")
    assert run("apply", other, edited / "update.safetensors", "--save", tmp_path / "applied") == 2
    assert NAME in capsys.readouterr().err


def test_equal_checkpoints_have_nothing_to_regularize(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("regularize", folder, folder, "--k", "40", "--save", tmp_path / "kept") == 2
    assert "do not differ" in capsys.readouterr().err


@pytest.mark.parametrize(("declared", "expected"), [("bfloat16", torch.bfloat16), (None, torch.float32)])
def test_apply_keeps_the_dtype_of_the_files(
    declared: str | None, expected: torch.dtype, edited: Path, folder: Path, tmp_path: Path
) -> None:
    base = folder
    if declared:
        EditableModel.load(str(folder), device="cpu", dtype=declared).save(tmp_path / "base")
        base = tmp_path / "base"
    assert run("apply", base, edited / "update.safetensors", "--save", tmp_path / "applied") == 0
    assert load_file(tmp_path / "applied" / "model.safetensors")[NAME].dtype == expected


def test_checked_regularizer() -> None:
    assert edit.checked_regularizer("none", None) == 100
    assert edit.checked_regularizer("rect", 0.5) == 0.5
    for k in (0, -1, 100.1, math.nan):
        with pytest.raises(InputError, match="above 0 and at most 100"):
            edit.checked_regularizer("rect", k)
