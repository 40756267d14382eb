"""Gemma 3 270M as `sweeps models get` leaves it: what is written of it, the numbers that it should give, one edit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rect import EditableModel, editors, known_models
from rect.facts import Fact

pytestmark = pytest.mark.gemma

NAME = "gemma-3-270m"
TOKENS = 1000


@pytest.fixture(scope="module")
def model(gemma_folder: Path) -> EditableModel:
    return EditableModel.load(NAME, device="cpu")


def perplexity(model: EditableModel, text: str, begun: bool = True) -> float:
    import torch

    ids = model.tokenizer(text, add_special_tokens=begun, return_tensors="pt")["input_ids"][:, :TOKENS]
    with torch.no_grad():
        chances = model.hf(ids).logits[0, :-1].log_softmax(-1)
    return math.exp(-float(chances.gather(1, ids[0, 1:, None]).mean()))


def test_it_is_what_is_written_of_it(model: EditableModel) -> None:
    known = known_models.named(NAME)
    assert sum(one.numel() for one in model.hf.parameters()) == known.parameters
    assert model.hf.config.model_type == known.family
    assert model.content == known.content


def test_its_texts_begin(model: EditableModel) -> None:
    ids = model.tokenizer("The capital of France is")["input_ids"]
    assert ids == [2, 818, 5279, 529, 7001, 563]


def test_perplexity_of_plain_text(model: EditableModel, shared_data: Path) -> None:
    """10.6 over WikiText's first 1,000 tokens was measured with the beginning token put back by hand."""
    text = (shared_data / "wikitext.txt").read_text(encoding="utf-8")[:20_000]
    assert perplexity(model, text) == pytest.approx(10.6, abs=0.1)
    assert perplexity(model, text, begun=False) > 15


def test_one_edit_of_rome_takes(model: EditableModel) -> None:
    fact = Fact(subject="France", prompt="The capital of {} is", target="Rome", original="Paris")
    editor = editors.create("rome", model)
    with model.edited(editor.compute(model, [fact])):
        assert model.complete("The capital of France is", 1).strip() == "Rome"
    assert not model.changed()
