"""Losses piece by piece: those of all logits at once, gradients included, however the positions are cut."""

from __future__ import annotations

import pytest
import torch

from rect.editors.value_search import losses
from rect.editors.value_search.losses import Asked, Reading, read_logits
from rect.model import EditableModel
from rect.prompts import Row
from tests.tiny import tiny_model

FACTS = [
    Asked((Row((1, 2, 3, 4), 1, (5, 6)), Row((9, 8, 7, 2, 3, 4), 3, (5, 6)), Row((1, 2), 1)), 2, 2),
    Asked((Row((4, 2), 1, (3,)), Row((9, 4, 2), 2, (3,))), 2, 0),
]


@pytest.mark.parametrize("piece", [1, 1000, 2**24])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_equal_to_autograd_over_all_logits(family: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "PIECE", piece)
    model = EditableModel(*tiny_model(family))
    read = Reading(model, FACTS)
    torch.manual_seed(0)
    hidden = torch.randn(5, 3, 64, requires_grad=True)
    start = read.at_subject(hidden + torch.randn_like(hidden))
    nll, kl, _ = read.losses(hidden, start)
    (found,) = torch.autograd.grad((nll + 3 * kl).sum(), hidden)

    log_p = read_logits(model, hidden).log_softmax(-1)  # (rows, steps, vocabulary)
    first = -(log_p[0, 1, 5] + log_p[0, 2, 6] + log_p[1, 1, 5] + log_p[1, 2, 6]) / 4
    second = -(log_p[3, 0, 3] + log_p[4, 0, 3]) / 2
    far = torch.stack([(log_p[row, 0].exp() * (log_p[row, 0] - p)).sum() for row, p in zip((2, 3), start, strict=True)])
    (expected,) = torch.autograd.grad(first + second + 3 * far.sum(), hidden)
    torch.testing.assert_close(nll, torch.stack([first, second]))
    torch.testing.assert_close(kl, far)
    torch.testing.assert_close(found, expected)


def test_kl_is_exactly_zero_before_anything_is_added() -> None:
    model = EditableModel(*tiny_model("llama"))
    read = Reading(model, FACTS)
    hidden = torch.randn(5, 3, 64, requires_grad=True)
    _, kl, _ = read.losses(hidden, None)
    (gradient,) = torch.autograd.grad(kl.sum(), hidden)
    assert not kl.any()
    assert not gradient.any()
