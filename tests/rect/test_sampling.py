"""Text that a model samples itself: its own distribution, the same for the same seed, however it is shared out."""

from __future__ import annotations

import logging

import pytest
import torch

from modelfolder.errors import InputError
from rect import covariance, editors, sampling
from rect.corpus import Corpus
from rect.covariance import Recipe
from rect.model import EditableModel
from tests.tiny import FAMILIES, tiny_model


def tiny(family: str = "llama", **overrides: object) -> EditableModel:
    return EditableModel(*tiny_model(family, **overrides), name="nobody-knows-it")


def recipe(tokens: int, seed: int = 0) -> Recipe:
    return Recipe("nobody-knows-it", Corpus("self", seed=seed), tokens, window=16, cap=64)


@pytest.mark.parametrize("tokenizer", ["byte-level", "metaspace"])
def test_tokens_are_drawn_from_the_models_own_distribution(tokenizer: str) -> None:
    """Second and third token of many rows against the probabilities of whole passes, chi square."""
    model = tiny(tokenizer=tokenizer)
    rows = torch.tensor(sampling.rows_of(model, 4000, 3, torch.Generator().manual_seed(0)))
    assert set(rows[:, 0].tolist()) == {model.tokenizer.bos_token_id}
    favourite = int(rows[:, 1].mode().values)
    for given, drawn in (([], rows[:, 1]), ([favourite], rows[rows[:, 1] == favourite, 2])):
        logits = model.hf(torch.tensor([[model.tokenizer.bos_token_id, *given]])).logits[0, -1]
        expected = logits.double().softmax(-1) * len(drawn)
        counts = torch.bincount(drawn, minlength=len(expected)).double()
        common = expected >= 5
        chi = float(((counts - expected)[common] ** 2 / expected[common]).sum())
        degrees = int(common.sum())
        assert degrees > 1
        assert abs(chi - degrees) < 5 * (2 * degrees) ** 0.5
        assert abs(float(counts[~common].sum() - expected[~common].sum())) < 5 * float(expected.sum()) ** 0.5


def test_the_seed_decides_and_workers_share_the_batches() -> None:
    model = tiny()
    whole = list(recipe(200).batches(model, 160))
    assert [len(batch) for batch in whole] == [4, 4, 4, 1]
    assert {len(row) for batch in whole for row in batch} == {16}
    assert list(recipe(200).batches(model, 160)) == whole
    assert list(recipe(200, seed=1).batches(model, 160)) != whole
    assert len({tuple(row) for batch in whole for row in batch}) == 13
    shares = [list(recipe(200).batches(model, 160, first, 3)) for first in range(3)]
    assert [shares[i % 3][i // 3] for i in range(4)] == whole


@pytest.mark.parametrize("family", FAMILIES)
def test_the_covariance_is_that_of_the_sampled_rows(family: str) -> None:
    model = tiny(family)
    found = covariance.collect(model, recipe(200), [0, 1])
    rows = [row for batch in recipe(200).batches(model, 160) for row in batch]
    assert found.tokens == 208 == sum(map(len, rows))
    for layer in found.layers:
        seen: list[torch.Tensor] = []
        module = model.module(model.path(model.architecture.mlp_out, layer))
        handle = module.register_forward_pre_hook(lambda _m, inputs, seen=seen: seen.append(inputs[0].detach()[0]))
        for row in rows:
            model.hf(torch.tensor([row]))
        handle.remove()
        keys = torch.cat(seen).double()
        expected = keys.T @ keys / len(keys)
        assert torch.allclose(found.matrix(layer), expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


def test_how_many_tokens() -> None:
    about = Recipe("m", Corpus("self"))
    assert (about.wanted(1536), about.wanted(14336)) == (14_000, 71_680)
    assert about.identity["corpus"] == {"sampled": sampling.VERSION, "seed": 0}
    with pytest.raises(InputError, match=r"has no end: tokens must be a number"):
        Recipe("m", Corpus("self"), "all")
    with pytest.raises(InputError, match=r"corpus self: .* it has no samples \(7\)"):
        Corpus("self", samples=7)


def test_a_tokenizer_without_any_beginning_is_refused() -> None:
    model = tiny()
    model.tokenizer.bos_token = model.tokenizer.eos_token = None
    with pytest.raises(InputError, match="no token that begins or ends a text"):
        sampling.beginning(model.tokenizer)


@pytest.mark.parametrize("method", ["rome", "memit"])
def test_a_model_that_nobody_knows_is_edited_with_the_covariance(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sampling, "TOKENS", 1500)
    model = tiny()
    caplog.set_level(logging.WARNING)
    hparams = {"v_num_grad_steps": 2}
    editor = editors.create(method, model, hparams, ["{}"])
    assert "nobody-knows-it samples 1500 tokens of text for it, which takes some minutes" in caplog.text
    used = editor.covariance  # type: ignore[attr-defined]
    about = Recipe("nobody-knows-it", Corpus("self"), window=sampling.LENGTH)
    expected = covariance.collect(model, about, editor.hparams.layers)  # type: ignore[attr-defined]
    assert all(torch.equal(used.matrix(layer), expected.matrix(layer).float()) for layer in used.layers)
    caplog.clear()
    again = editors.create(method, tiny(), hparams, ["{}"]).covariance  # type: ignore[attr-defined]
    assert all(torch.equal(again.matrix(layer), used.matrix(layer)) for layer in used.layers)
    assert "samples" not in caplog.text  # kept for whoever comes next
    prefixes = {"digest": editor.prefixes.digest}  # type: ignore[attr-defined]
    assert editor.identity() == editors.declared(method, model.name, hparams, prefixes, used.identity)
