"""Facts as they come: the editors must not stumble, and must do what a user expects."""

from __future__ import annotations

import pytest
import torch

from benchmarks import plain_editing
from rect import editors
from rect.facts import Fact
from rect.model import EditableModel
from rect.update import UpdateError
from tests.tiny import tiny_model

TEMPLATES = ["{}", "The answer is. {}", "She has {12} apples and. {}".replace("{12}", "12")]
ODD = {
    "glued": Fact(subject="France", prompt="Is {}'s capital", target="Rome"),
    "several tokens": Fact(subject="France", prompt="The capital of {} is", target="the old city of Rome, in Italy"),
    "name twice": Fact(subject="France", prompt="France is old. The capital of {} is", target="Rome"),
    "place twice": Fact(subject="France", prompt="{} is old. The capital of {} is", target="Rome"),
    "braces": Fact(subject="a {b}", prompt="{x: {1}} of {} is {0}", target="{c}"),
    "Japanese": Fact(subject="東京", prompt="{}は", target="首都"),
    "Russian": Fact(subject="Лев Толстой", prompt="The tongue of {} is", target="Russian"),
}


def tiny(family: str = "llama", **overrides: object) -> EditableModel:
    return EditableModel(*tiny_model(family, **overrides))


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("tokenizer", ["byte-level", "metaspace"])
@pytest.mark.parametrize("case", ODD)
def test_rome_equals_the_plain_formulation(case: str, tokenizer: str) -> None:
    model = tiny(tokenizer=tokenizer)
    hparams = {"layers": [1], "v_num_grad_steps": 6, "mom2_adjustment": False}
    editor = editors.create("rome", model, hparams, TEMPLATES)
    update = editor.compute(model, [ODD[case]])
    expected, losses = plain_editing.rome(model, ODD[case], TEMPLATES, editor.hparams)
    (name,) = update
    assert losses[-1] < losses[0]
    assert update.provenance["losses"][0] == pytest.approx(losses, rel=1e-4)
    cosine = torch.cosine_similarity(update.dense(name).flatten(), expected.dense(name).flatten(), 0)
    assert cosine.item() > 1 - 1e-5


def test_memit_takes_them_all_at_once() -> None:
    model = tiny()
    hparams = {"layers": [0, 1], "v_num_grad_steps": 6, "mom2_adjustment": False, "mom2_update_weight": 1}
    update = editors.create("memit", model, hparams, TEMPLATES).compute(model, list(ODD.values()))
    assert {entry.rank for entry in update.values()} == {len(ODD)}
    assert all(losses[-1] < losses[0] for losses in update.provenance["losses"])


@pytest.mark.parametrize("method", ["rome", "memit"])
def test_a_target_that_is_the_answer_already_changes_nothing(method: str) -> None:
    model = tiny("gpt_neox")
    fact = Fact(subject="France", prompt="The capital city of {}", target="is")
    hard = {"layers": [1], "v_num_grad_steps": 99, "v_lr": 1.0, "clamp_norm_factor": 99, "kl_factor": 0}
    hard |= {"v_weight_decay": 0, "mom2_adjustment": False}
    hard |= {"mom2_update_weight": 1e-6} if method == "memit" else {}
    editor = editors.create(method, model, hard, ["{}"])
    first = editor.compute(model, [fact])
    assert first.provenance["losses"][0][-1] < 0.05 < first.provenance["losses"][0][0]
    model.add(first)
    again = editor.compute(model, [fact])
    assert len(again.provenance["losses"][0]) == 1  # stopped before the first step
    for name in again:
        assert again.dense(name).norm() < 1e-4 * first.dense(name).norm()
        assert torch.isfinite(again.dense(name)).all()


def test_a_collapsed_model_is_an_error_not_an_empty_update() -> None:
    model = tiny()
    model.hf.get_parameter(model.mlp_out_name(2)).data.fill_(torch.nan)
    editor = editors.create("rome", model, {"layers": [1], "mom2_adjustment": False}, TEMPLATES)
    with pytest.raises(UpdateError, match="layer 1: the loss is not a number at step 0"):
        editor.compute(model, [ODD["braces"]])
