"""Queries that several metrics ask are read once, and figures stay what they are."""

from __future__ import annotations

import pytest
import torch

from rect import evaluation, metrics, queries
from rect.model import EditableModel
from tests.rect.metrics.test_counterfact import FACTS
from tests.tiny import tiny_model


def rows_read(model: EditableModel, call: object) -> int:
    """Rows that go through the model in a call."""
    counted: list[int] = []
    hook = model.hf.base_model.register_forward_hook(lambda module, args, out: counted.append(len(args[0])))
    try:
        call()  # type: ignore[operator]
    finally:
        hook.remove()
    return sum(counted)


def test_shared_queries_are_read_once_and_figures_stay() -> None:
    model = EditableModel(*tiny_model("llama"))
    alone = evaluation.evaluate(model, FACTS), metrics.get("counterfact")(model, FACTS)  # type: ignore[operator]
    neighborhood = 2 * sum(one.answer == fact.original for fact in FACTS for one in fact.locality if fact.original)
    with queries.once(model):
        assert rows_read(model, lambda: evaluation.evaluate(model, FACTS)) > 0
        assert rows_read(model, lambda: metrics.get("counterfact")(model, FACTS)) == neighborhood  # type: ignore[operator]
        together = evaluation.evaluate(model, FACTS), metrics.get("counterfact")(model, FACTS)  # type: ignore[operator]
    for one, other in zip(alone, together, strict=True):
        assert one.per_fact.keys() == other.per_fact.keys()
        for name in one.per_fact:
            assert other.per_fact[name] == pytest.approx(one.per_fact[name], abs=1e-5, nan_ok=True)


def test_outside_nothing_is_remembered() -> None:
    model = EditableModel(*tiny_model("llama"))
    asked = [queries.query(model.tokenizer, "Anna lives in", "Rome")]
    with queries.once(model):
        before = queries.read(model, asked)
        assert queries.read(model, asked) == before
    name = model.mlp_out_name(0)
    with torch.no_grad():
        model.weight(name).add_(torch.randn_like(model.weight(name)))
    assert queries.read(model, asked) != before
