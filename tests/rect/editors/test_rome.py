"""ROME: the fast form equals the plain one on every family, leaves the model alone, and reaches its goal."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks import plain_editing
from modelfolder.errors import InputError
from rect import editors
from rect.editors.rome import RomeHparams
from rect.facts import Fact
from rect.model import EditableModel
from tests.tiny import FAMILIES, tiny_model

TEMPLATES = ["{}", "The answer is. {}", "She has 12 apples and. {}", "True. {}"]
FACT = Fact(subject="Albert Einstein", prompt="A film of {} was born in", target="Spain", original="Ulm")
HPARAMS = {"layers": [1], "v_num_grad_steps": 8, "mom2_adjustment": False}


def tiny(family: str, **overrides: object) -> EditableModel:
    return EditableModel(*tiny_model(family, **overrides), name=f"tiny-{family}")


def weights(model: EditableModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.cosine_similarity(a.flatten().double(), b.flatten().double(), 0).item()


def next_token(model: EditableModel, prompt: str) -> torch.Tensor:
    """Log-probabilities of the next token, (vocabulary,)."""
    with torch.no_grad():
        return model.hf(torch.tensor([model.tokenizer(prompt)["input_ids"]])).logits[0, -1].log_softmax(-1)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "fact", [FACT, Fact(subject="France", prompt="{} is", target="Rome, Italy")], ids=["in", "first"]
)
def test_equals_the_plain_formulation(family: str, fact: Fact) -> None:
    model = tiny(family)
    editor = editors.create("rome", model, HPARAMS, TEMPLATES)
    update = editor.compute(model, [fact])
    expected, losses = plain_editing.rome(model, fact, TEMPLATES, editor.hparams)
    (name,) = update
    assert [name] == list(expected) == [model.mlp_out_name(1)]
    assert update.provenance["losses"][0] == pytest.approx(losses, rel=1e-4)
    assert cosine(update.dense(name), expected.dense(name)) > 1 - 3e-5
    assert update.dense(name).norm().item() == pytest.approx(expected.dense(name).norm().item(), rel=1e-3)
    assert update[name].rank == 1


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("tokenizer", ["byte-level", "metaspace"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_untouched_and_the_target_wins(family: str, tokenizer: str) -> None:
    model = tiny(family, tokenizer=tokenizer)
    fact = Fact(subject="France", prompt="The capital city of {}", target="is")
    said = next_token(model, fact.filled)
    target = model.tokenizer(f"{fact.filled} is")["input_ids"][-1]
    before = weights(model)
    # a random model is stiff: more steps, larger ones, and room for them
    stiff = {**HPARAMS, "v_num_grad_steps": 60, "v_lr": 1.0, "clamp_norm_factor": 30}
    update = editors.create("rome", model, stiff, TEMPLATES).compute(model, [fact])
    after = weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.hf.modules())
    with model.edited(update):
        edited = next_token(model, fact.filled)
    if model.architecture.mlp_norm is None:
        assert edited[target] > max(edited[said.argmax()], math.log(0.5))
    else:  # what comes out of the norm has a fixed size, which in a random model is small beside the residual stream
        assert edited[target] > said[target] + 0.05


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["mistral", "qwen2", "gemma3_text"])
def test_sliding_windows_are_respected(family: str, implementation: str) -> None:
    """A window shorter than the rows: later layers must not see what the whole model would not."""
    window = {
        "sliding_window": 12,
        **({"use_sliding_window": True, "max_window_layers": 1} if family == "qwen2" else {}),
    }
    model = tiny(family, attn_implementation=implementation, **window)
    wide = tiny(family, attn_implementation=implementation)
    ours = editors.create("rome", model, HPARAMS, TEMPLATES).compute(model, [FACT])
    expected, _ = plain_editing.rome(model, FACT, TEMPLATES, RomeHparams(**HPARAMS))
    other, _ = plain_editing.rome(wide, FACT, TEMPLATES, RomeHparams(**HPARAMS))
    name = model.mlp_out_name(1)
    assert cosine(ours.dense(name), expected.dense(name)) > 1 - 3e-5
    assert cosine(ours.dense(name), other.dense(name)) < 0.999  # the window matters here


def test_edits_on_an_edited_model_start_from_it() -> None:
    model = tiny("llama")
    editor = editors.create("rome", model, HPARAMS, TEMPLATES)
    other = Fact(subject="Spain", prompt="The capital of {} is", target="Rome")
    first = editor.compute(model, [FACT])
    alone = editor.compute(model, [other])
    model.add(first)
    second = editor.compute(model, [other])
    expected, _ = plain_editing.rome(model, other, TEMPLATES, editor.hparams)
    name = model.mlp_out_name(1)
    assert cosine(second.dense(name), expected.dense(name)) > 1 - 1e-6
    assert cosine(second.dense(name), alone.dense(name)) < 0.99999


def test_the_same_facts_give_the_same_bits() -> None:
    model = tiny("gpt2")
    editor = editors.create("rome", model, HPARAMS, TEMPLATES)
    a, b = editor.compute(model, [FACT]), editor.compute(model, [FACT])
    assert torch.equal(a.dense(model.mlp_out_name(1)), b.dense(model.mlp_out_name(1)))


def test_only_one_fact() -> None:
    model = tiny("gpt2")
    editor = editors.create("rome", model, HPARAMS, TEMPLATES)
    with pytest.raises(InputError, match="rome takes one fact in an operation, not 2"):
        editor.compute(model, [FACT, FACT])
    with pytest.raises(InputError, match="no fact"):
        editor.compute(model, [])


def test_in_bfloat16_the_vector_is_still_optimized_in_float32() -> None:
    hf, tokenizer = tiny_model("llama")
    model = EditableModel(hf.bfloat16(), tokenizer, name="tiny-bf16")
    fact = Fact(subject="France", prompt="The capital city of {}", target="is")
    target = tokenizer(" is")["input_ids"][0]
    stiff = {**HPARAMS, "v_num_grad_steps": 60, "v_lr": 1.0, "clamp_norm_factor": 30}
    update = editors.create("rome", model, stiff, TEMPLATES).compute(model, [fact])
    assert {t.dtype for t in vars(update[model.mlp_out_name(1)]).values()} == {torch.float32}
    with model.edited(update):
        assert next_token(model, fact.filled)[target] > math.log(0.5)
