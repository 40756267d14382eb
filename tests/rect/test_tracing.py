"""Causal tracing against a plain formulation: one run, one layer, one draw at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modelfolder.errors import InputError
from rect import EditableModel, tracing
from rect.facts import Fact
from rect.prompts import encode
from tests import tiny

DRAWS = 3
SUBJECTS = ("France", "Italy", "Spain", "Paris", "Rome", "Ulm", "Moon", "Earth", "Einstein", "Darrieux")


def known_fact(model: EditableModel, prompt: str = "The capital of {} is", subject: str = "France") -> Fact:
    """A fact whose answer is what the model says."""
    ids = torch.tensor([encode(model.tokenizer, prompt.replace("{}", subject))])
    answer = model.tokenizer.decode(model.hf(ids).logits[0, -1].argmax())
    return Fact(subject=subject, prompt=prompt, target="Rome", original=answer)


@pytest.fixture(params=["llama", "gpt2", "gemma3_text"])
def model(request: pytest.FixtureRequest) -> EditableModel:
    for seed in range(60):  # one that says a whole character behind a space: its fact can be written down
        made = EditableModel(*tiny.tiny_model(request.param, seed))
        fact = known_fact(made)
        if is_known(made, fact):
            return made
    raise AssertionError("no seed gives a model that knows a fact")


def is_known(model: EditableModel, fact: Fact) -> bool:
    return bool(fact.original) and tracing._prompt(model.tokenizer, fact).answer == _says(model, fact)


def _says(model: EditableModel, fact: Fact) -> int:
    return int(model.hf(torch.tensor([encode(model.tokenizer, fact.filled)])).logits[0, -1].argmax())


def plainly(model: EditableModel, fact: Fact, site: str, draws: int, noise: float) -> list[float]:
    """p(corrupted), then p with each layer put back; full passes of the whole model, row by row."""
    tokenizer, hf = model.tokenizer, model.hf
    text, ids = fact.filled, torch.tensor([encode(tokenizer, fact.filled)])
    start = text.index(fact.subject)
    spans = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    subject = [i for i, (a, b) in enumerate(spans) if a < start + len(fact.subject) and b > start]
    answer = _says(model, fact)
    blocks = hf.transformer.h if hasattr(hf, "transformer") else hf.model.layers

    def part(layer: int) -> Any:
        block = blocks[layer]
        return block if site == "block" else block.mlp.c_proj if hasattr(block.mlp, "c_proj") else block.mlp.down_proj

    def run(added: torch.Tensor | None, back: dict[int, torch.Tensor], record: dict[int, torch.Tensor]) -> torch.Tensor:
        handles = []

        def embed(_m: Any, _i: Any, out: torch.Tensor) -> torch.Tensor:
            out = out.clone()
            if added is not None:
                out[0, subject] += added
            return out

        def at(layer: int) -> Any:
            def hook(_m: Any, _i: Any, out: Any) -> Any:
                state = (out[0] if isinstance(out, tuple) else out).clone()
                record[layer] = state[0, subject[-1]].clone()
                if layer in back:
                    state[0, subject[-1]] = back[layer]
                return (state, *out[1:]) if isinstance(out, tuple) else state

            return hook

        handles.append(hf.get_input_embeddings().register_forward_hook(embed))
        handles += [part(layer).register_forward_hook(at(layer)) for layer in range(len(blocks))]
        with torch.no_grad():
            logits = hf(ids).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits.softmax(-1)[answer]

    clean: dict[int, torch.Tensor] = {}
    run(None, {}, clean)
    scale = noise * float(hf.get_input_embeddings()(ids[0, subject]).std())
    generator = torch.Generator().manual_seed(0)
    drawn = scale * torch.randn(draws, len(subject), model.hidden_size, generator=generator)
    runs: list[dict[int, torch.Tensor]] = [{}]
    for layer in range(len(blocks)):
        width = max(1, round(len(blocks) / 5)) if site == "mlp" else 1
        layers = range(max(layer - width // 2, 0), min(layer - width // 2 + width, len(blocks)))
        runs.append({one: clean[one] for one in layers})
    return [float(torch.stack([run(noisy, back, {}) for noisy in drawn]).mean()) for back in runs]


@pytest.mark.parametrize("site", ["mlp", "block"])
def test_as_run_by_run(model: EditableModel, site: Any) -> None:
    fact = known_fact(model)
    corrupted, *restored = plainly(model, fact, site, DRAWS, 1.5)
    found = tracing.profile(model, [fact], site, DRAWS, 1.5)
    assert found.corrupted == pytest.approx(corrupted, abs=1e-6)
    assert found.effects == pytest.approx([p - corrupted for p in restored], abs=1e-6)
    assert max(map(abs, found.effects)) > 1e-4
    model.tokens_per_batch = 30  # a few runs at a time
    assert tracing.profile(model, [fact], site, DRAWS, 1.5).effects == pytest.approx(found.effects, abs=1e-6)


def test_the_last_block_at_the_prompts_end_gives_everything_back(model: EditableModel) -> None:
    prompts = [(f"{word} of {{}}", subject) for word in ("The capital", "A film", "The city") for subject in SUBJECTS]
    facts = [known_fact(model, *one) for one in prompts]
    fact = next(one for one in facts if is_known(model, one))
    found = tracing.profile(model, [fact], "block", DRAWS)
    assert found.corrupted + found.effects[-1] == pytest.approx(found.clean, abs=1e-6)


def test_without_noise_there_is_no_effect(model: EditableModel) -> None:
    found = tracing.profile(model, [known_fact(model)], noise=0.0)
    assert found.corrupted == pytest.approx(found.clean, abs=1e-6)
    assert found.effects == pytest.approx([0.0] * model.n_layers, abs=1e-6)


def test_facts_that_the_model_does_not_know(model: EditableModel) -> None:
    fact = known_fact(model)
    wrong = fact.model_copy(update={"original": "Q" if fact.original != "Q" else "Z"})
    assert tracing.profile(model, [fact, wrong]).facts == 1
    with pytest.raises(InputError, match="knows the answer before the edit of none of 1 facts"):
        tracing.profile(model, [wrong])


@pytest.mark.parametrize(
    ("layers", "layer", "found"), [(48, 20, range(15, 25)), (48, 0, range(5)), (3, 2, range(2, 3))]
)
def test_window(layers: int, layer: int, found: range) -> None:
    assert tracing.window("mlp", layer, layers) == found
    assert tracing.window("block", layer, layers) == range(layer, layer + 1)
