"""UltraEdit: rows, moments and shift against plain formulas, and against what the release computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelfolder.errors import InputError
from rect import editors
from rect.editors.ultraedit.editor import UltraEdit
from rect.editors.ultraedit.shift import Moments, shift
from rect.facts import Fact
from rect.history import History
from rect.model import EditableModel
from rect.prompts import continue_with
from rect.update import Dense, Update
from tests.tiny import tiny_model

FACTS = [
    Fact(subject="Albert Einstein", prompt="A film of {} was born in", target="Spain"),
    Fact(subject="France", prompt="{} is", target="Rome, Italy"),
    Fact(subject="the old bridge", prompt="The designer of {} was", target="Ulm"),
]


def tiny(family: str = "llama") -> EditableModel:
    return EditableModel(*tiny_model(family), name=f"tiny-{family}")


def editor(model: EditableModel, **more: Any) -> UltraEdit:
    made = editors.create("ultraedit", model, {"up_layers": [1], "down_layers": [1, 2], "lr": 1e-3, **more})
    assert isinstance(made, UltraEdit)
    return made


def relative(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def inputs(update: Update, model: EditableModel, name: str) -> np.ndarray:
    """dW as (out, in)."""
    dense = update.dense(name).double()
    return (dense.T if model.architecture.transposed else dense).numpy()


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama", "qwen2", "gemma2"])
def test_rows_make_the_gradient_of_the_weights(family: str) -> None:
    """The sum over tokens of g h^T is W.grad of the facts' losses, one by one in a plain pass; no row is padding."""
    model = tiny(family)
    method = editor(model)
    rows = method.rows(model, FACTS)
    lengths = [sum(map(len, continue_with(model.tokenizer, fact.filled, fact.target))) for fact in FACTS]
    for name in method.names(model):
        parameter = model.hf.get_parameter(name)
        parameter.requires_grad_(True)
        loss = torch.zeros(())
        for fact in FACTS:
            prompt, target = continue_with(model.tokenizer, fact.filled, fact.target)
            logits = model.hf(torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1]
            loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor(target))
        (gradient,) = torch.autograd.grad(loss, [parameter])
        parameter.requires_grad_(False)
        keys, deltas = rows[name]
        assert len(keys) == len(deltas) == sum(lengths)
        made = deltas.T @ keys
        assert relative(made.T if model.architecture.transposed else made, gradient) < 1e-4


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_two_operations_equal_the_formula(family: str) -> None:
    """Statistics of the second one are those of all rows so far, taken at once."""
    model = tiny(family)
    method = editor(model)
    first = method.compute(model, FACTS[:2])
    seen = method.rows(model, FACTS[:2])
    with model.edited(first):
        second = method.compute(model, FACTS[2:], History().after(first))
        now = method.rows(model, FACTS[2:])
    for name in method.names(model):
        every = np.concatenate([torch.cat(rows, 1).numpy() for rows in (seen[name], now[name])]).astype(float)
        h, g = (part.double().numpy() for part in now[name])
        normal = (np.concatenate([h, g], 1) - every.mean(0)) / (every.std(0) + 2.0**-23)
        h_hat, g_hat = normal[:, : h.shape[1]], normal[:, h.shape[1] :]
        v = -1e-3 * (h_hat**2).sum(1, keepdims=True) * g_hat
        expected = np.linalg.solve(h.T @ h + np.eye(h.shape[1]), h.T @ v).T
        assert relative(inputs(second, model, name), expected) < 1e-4


def test_moments_do_not_depend_on_order_or_parts() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(3, 5, size=(20, 4)))
    parts = [Moments.of(part) for part in rows.split([1, 7, 2, 10])]  # one row alone is no trouble
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        total = parts[order[0]]
        for i in order[1:]:
            total = total + parts[i]
        assert relative(total.mean, rows.mean(0)) < 1e-12
        assert relative(total.deviation, rows.numpy().std(0)) < 1e-12
        assert int(total.count) == 20


def test_the_rate_scales_and_no_gradient_moves_nothing() -> None:
    draw = np.random.default_rng(1)
    h, g = torch.from_numpy(draw.normal(size=(6, 5))), torch.from_numpy(draw.normal(size=(6, 3)))
    of = Moments.of(torch.cat([h, g], 1))
    one, ten = (left @ right for left, right in (shift(h, g, of.mean, of.deviation, rate) for rate in (0.1, 1.0)))
    assert relative(10 * one, ten) < 1e-12
    still = Moments.of(torch.cat([h, 0 * g], 1))
    left, right = shift(h, 0 * g, still.mean, still.deviation, 1.0)
    assert not (left @ right).any()


def test_moments_lie_in_the_update_s_file_and_a_history_is_asked_for(tmp_path: Path) -> None:
    model = tiny()
    method = editor(model)
    first = method.compute(model, FACTS[:2])
    first.save(tmp_path / "u")
    with model.edited(first):
        one = method.compute(model, FACTS[2:], History().after(first))
        other = method.compute(model, FACTS[2:], History().after(Update.load(tmp_path / "u")))
        with pytest.raises(InputError, match="ultraedit: tiny-llama was edited before: pass the history"):
            method.compute(model, FACTS[2:])
        alone = method.compute(model, FACTS[2:], History())
    assert one.to_bytes() == other.to_bytes()
    assert not torch.equal(one.dense(method.names(model)[0]), alone.dense(method.names(model)[0]))
    foreign = History().after(Update(dict(first)))
    with pytest.raises(InputError, match="the last operation of the history left no moments"):
        method.compute(model, FACTS[2:], foreign)


def test_which_matrices() -> None:
    gpt2, llama = tiny("gpt2"), tiny("llama")
    assert editor(gpt2).names(gpt2) == [gpt2.mlp_in_names(1)[0], gpt2.mlp_out_name(1), gpt2.mlp_out_name(2)]
    assert editor(llama, gate_layers=[0]).names(llama)[0] == llama.mlp_in_names(0)[0]
    with pytest.raises(InputError, match="gate_layers: the MLPs of tiny-gpt2 have no gate"):
        editor(gpt2, gate_layers=[0])
    with pytest.raises(InputError, match="layer 9 is not there"):
        editor(llama, up_layers=[9])
    with pytest.raises(InputError, match="name some gate_layers, up_layers or down_layers"):
        editors.create("ultraedit", llama, {"up_layers": []})
    before = {name: tensor.clone() for name, tensor in llama.hf.state_dict().items()}
    editor(llama).compute(llama, FACTS)
    assert all(torch.equal(before[name], tensor) for name, tensor in llama.hf.state_dict().items())
    assert not any(module._forward_hooks for module in llama.hf.modules())


@pytest.mark.parametrize("case", "ab")
@pytest.mark.parametrize("turn", [0, 1])
def test_the_shift_equals_the_release_s_on_seeded_rows(shared_oracle: Path, case: str, turn: int) -> None:
    """With its mean and deviation."""
    numbers = np.load(shared_oracle / "regularizers.npz")
    rate = json.loads((shared_oracle / "regularizers.json").read_text())[f"ultra_{case}"]["lr"]
    h, g, mean, deviation = (
        torch.from_numpy(numbers[f"ultra_{case}_turn{turn}_{what}"]) for what in ("h", "g", "mean", "std")
    )
    left, right = shift(h, g, mean, deviation, rate)
    assert relative(left @ right, numbers[f"ultra_{case}_turn{turn}_dW"]) < 1e-4
    if not turn:
        assert relative(Moments.of(torch.cat([h, g], 1)).mean, mean) < 1e-5


@pytest.mark.model
def test_rows_and_shift_equal_the_release_s_on_the_default_model(
    default_model_folder: Path, shared_oracle: Path
) -> None:
    """Two turns; each with the release's statistics, which two modules share there, and its own weights before."""
    numbers = np.load(shared_oracle / "ultraedit.npz")
    said = json.loads((shared_oracle / "ultraedit.json").read_text())
    model = EditableModel.load(str(default_model_folder), device="cpu")
    facts = [Fact(subject=f["subject"], prompt=f["prompt"], target=f["target"].strip()) for f in said["facts"]]
    method = editors.create("ultraedit", model, {"gate_layers": [18], "up_layers": [20], "lr": said["lr"]})
    assert isinstance(method, UltraEdit)
    short = dict(zip(method.names(model), ("l18_gate_proj", "l20_up_proj"), strict=True))
    try:
        for turn in (0, 1):
            by_text = {f"{facts[i].filled} {facts[i].target}": facts[i] for i in said["turns"][turn]["facts"]}
            rows = method.rows(model, [by_text[text] for text in said["turns"][turn]["order"]])
            mean, deviation = (torch.from_numpy(numbers[f"turn{turn}_{what}"]) for what in ("mean", "std"))
            entries = {}
            for name, module in short.items():
                begin = f"turn{turn}_{module}"
                assert relative(rows[name][0], numbers[f"{begin}_h"]) < 1e-3
                assert relative(rows[name][1], numbers[f"{begin}_g"]) < 1e-3
                left, right = shift(*rows[name], mean, deviation, said["lr"])
                expected = numbers[f"{begin}_left"].astype(float) @ numbers[f"{begin}_right"].astype(float).T
                found = (left @ right).numpy()
                assert relative(found, expected) < 1e-3
                entries[name] = torch.from_numpy(found)
            model.add(Update({name: Dense(matrix.float()) for name, matrix in entries.items()}))
    finally:
        model.restore()
