"""Integrated gradients: the batched scores are those of a plain loop, and they add up to the change in probability."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rect.editors.kn import attribution
from rect.model import EditableModel
from tests.tiny import FAMILIES, tiny_model

PROMPT = "The capital of France is"
STEPS = 5


def tiny(family: str) -> EditableModel:
    return EditableModel(*tiny_model(family))


def tokens(model: EditableModel, text: str = PROMPT) -> list[int]:
    return model.tokenizer(text)["input_ids"]


def projection(model: EditableModel, layer: int, neurons: str) -> torch.nn.Module:
    parts = model.architecture
    return model.module(model.path(parts.mlp_out if neurons == "activation" else parts.mlp_in[0], layer))


def probability(
    model: EditableModel, ids: list[int], token: int, layer: int, alpha: float, neurons: str
) -> tuple[Tensor, Tensor, Tensor]:
    """P(token) with one layer's neurons at the last position scaled: a full forward pass, no cache, one row.

    Returns:
        the probability, the unscaled neurons, the scaled ones (with gradient).
    """
    seen: dict[str, Tensor] = {}

    def scale(x: Tensor) -> Tensor:
        seen["value"] = x[0, -1].detach()
        seen["scaled"] = (alpha * seen["value"]).requires_grad_()
        return torch.cat([x[:, :-1], seen["scaled"][None, None]], 1)

    module = projection(model, layer, neurons)
    if neurons == "activation":
        handle = module.register_forward_pre_hook(lambda _m, inputs: (scale(inputs[0]),))
    else:
        handle = module.register_forward_hook(lambda _m, _i, output: scale(output))
    logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1]
    handle.remove()
    return logits.softmax(-1)[token], seen["value"], seen["scaled"]


def plain_scores(model: EditableModel, ids: list[int], token: int, steps: int, neurons: str) -> Tensor:
    rows = []
    for layer in range(model.n_layers):
        total = 0
        for alpha in torch.linspace(0, 1, steps).tolist():
            p, value, scaled = probability(model, ids, token, layer, alpha, neurons)
            (gradient,) = torch.autograd.grad(p, scaled)
            total = total + gradient
        rows.append(value * total / steps)
    return torch.stack(rows).detach()


def likely(model: EditableModel, ids: list[int]) -> int:
    return attribution.greedy(model, ids, 1)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", [128, 4])
def test_scores_equal_a_loop_over_layers_and_steps(family: str, rows: int) -> None:
    model = tiny(family)
    ids = tokens(model)
    token = likely(model, ids)
    scores = attribution.token_scores(model, ids, token, STEPS, rows, "activation")
    plain = plain_scores(model, ids, token, STEPS, "activation")
    assert plain.abs().max() > 1e-3
    assert (scores - plain).abs().max() <= 1e-5 * max(1, float(plain.abs().max()))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_neurons_of_the_first_projection_are_scored_likewise(family: str) -> None:
    model = tiny(family)
    ids = tokens(model)
    token = likely(model, ids)
    scores = attribution.token_scores(model, ids, token, STEPS, 7, "projection")
    plain = plain_scores(model, ids, token, STEPS, "projection")
    assert (scores - plain).abs().max() <= 1e-5 * max(1, float(plain.abs().max()))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_prompt_of_one_token(family: str) -> None:
    model = tiny(family)
    ids = tokens(model)[:1]
    scores = attribution.token_scores(model, ids, likely(model, ids), STEPS, 128, "activation")
    plain = plain_scores(model, ids, likely(model, ids), STEPS, "activation")
    assert (scores - plain).abs().max() <= 1e-5 * max(1, float(plain.abs().max()))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_scores_add_up_to_the_change_in_probability(family: str) -> None:
    model = tiny(family)
    ids = tokens(model)
    token = likely(model, ids)
    change = torch.stack(
        [
            probability(model, ids, token, layer, 1, "activation")[0]
            - probability(model, ids, token, layer, 0, "activation")[0]
            for layer in range(model.n_layers)
        ]
    )

    def error(steps: int) -> float:
        sums = attribution.token_scores(model, ids, token, steps, 512, "activation").sum(1)
        return float((sums - change.detach()).abs().max())

    assert change.abs().max() > 0.05
    assert error(2048) < 2e-3
    assert error(2048) < error(128) / 4 < error(8)


def test_an_answer_of_several_tokens_is_the_mean_along_the_models_own_words() -> None:
    model = tiny("llama")
    ids = tokens(model)
    answer = [11, 42, 7]
    said = attribution.greedy(model, ids, 2)
    scores = attribution.scores(model, ids, answer, STEPS, 32)
    each = [plain_scores(model, ids + said[:i], token, STEPS, "activation") for i, token in enumerate(answer)]
    assert torch.allclose(scores, torch.stack(each).mean(0), atol=1e-6)


def test_greedy_tokens_are_those_of_generate() -> None:
    model = tiny("llama")
    ids = tokens(model)
    model.hf.generation_config.eos_token_id = None
    generated = model.hf.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False, pad_token_id=0)
    assert attribution.greedy(model, ids, 6) == generated[0, len(ids) :].tolist()


@pytest.mark.parametrize("rows", [1, 4, 128])
def test_no_pass_has_more_rows_than_asked_for(rows: int) -> None:
    """The bound of the memory: `rows_per_pass` points and the unscaled row, in the last block the most."""
    model = tiny("llama")
    batches: list[int] = []
    handle = model.block(model.n_layers - 1).register_forward_hook(
        lambda _block, _inputs, output: batches.append(len(output[0] if isinstance(output, tuple) else output))
    )
    attribution.token_scores(model, tokens(model), 7, STEPS, rows, "activation")
    handle.remove()
    points = model.n_layers * STEPS
    assert max(batches) == min(rows, points) + 1
    assert sum(batches) - len(batches) == points  # the earlier positions went before, in a batch of one row
