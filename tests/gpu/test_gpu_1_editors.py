"""First what everything rests on: an edit on a CUDA device is the edit on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rect import metrics, regularizers
from rect.covariance import accumulate
from rect.evaluation import evaluate, locality_baseline
from rect.history import History
from rect.perplexity import drift, next_token_log_probabilities, perplexity
from rect.regularizers import REGULARIZERS, WithCovariance, keep_top
from rect.update import Update
from tests.gpu.parts import FACTS, METHODS, apart, editor, tiny
from tests.rect.editors.field import covariance
from tests.rect.editors.mend_facts import facts
from tests.rect.editors.test_mend_training import Trainer, run, settings
from tests.tiny import FAMILIES, SENTENCES

Record = Callable[[str, Any], None]


@pytest.mark.parametrize("family", FAMILIES)
def test_rome_on_every_family(family: str, device: str, record_property: Record) -> None:
    made = [editor("rome", tiny(family, where)).compute(tiny(family, where), FACTS[:1]) for where in (device, "cpu")]
    record_property("relative distance", off := apart(*made))
    assert off < 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_every_method_twice_in_a_row(name: str, device: str, record_property: Record) -> None:
    """The second operation is on a model that the first has edited, with its keys."""
    found = []
    for where in (device, "cpu"):
        model, history = tiny("llama", where), History()
        method = editor(name, model)
        for fact in FACTS:
            update = method.compute(model, [fact], history)
            model.add(update)
            history = history.after(update)
        found.append(update)
    record_property("relative distance", off := apart(*found))
    assert off < 5e-3


def test_rect_keeps_the_same_elements(device: str) -> None:
    draw = torch.Generator().manual_seed(0)
    delta, weight = torch.randn(600, 900, generator=draw), torch.randn(600, 900, generator=draw)
    delta[:, :300], weight[:, :300] = 0.5, 2  # as many ties
    for k in (1, 20, 40, 99):
        assert torch.equal(keep_top(delta.to(device), weight.to(device), k).cpu(), keep_top(delta, weight, k))


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_regularizer(name: str, device: str, record_property: Record) -> None:
    """Of one and the same update, as the store gives it back."""
    model = tiny("llama", "cpu")
    stored = editor("memit", model).compute(model, FACTS, History()).to_bytes()
    kept = []
    for where in (device, "cpu"):
        model = tiny("llama", where)
        weights = WithCovariance(model, covariance(model))
        kept.append(regularizers.get(name)(Update.from_bytes(stored), weights, 3, 0, History()))
    record_property("relative distance", off := apart(*kept))
    assert off < 1e-4


def test_metrics_perplexity_drift_and_covariance(device: str) -> None:
    found = []
    for where in (device, "cpu"):
        model = tiny("llama", where)
        before = next_token_log_probabilities(model, SENTENCES)
        baseline = locality_baseline(model, FACTS)
        sums = accumulate(model, [1], [[model.tokenizer(text)["input_ids"]] for text in SENTENCES])
        with model.edited(editor("memit", model).compute(model, FACTS)):
            figures = {name: one.value for name, one in evaluate(model, FACTS, baseline).figures().items()}
            counterfact = {name: one.value for name, one in metrics.get("counterfact")(model, FACTS).figures().items()}
            ppl, moved = perplexity(model, SENTENCES)[0], drift(before, model, SENTENCES)
        found.append(({**figures, **counterfact}, ppl, moved, sums.layers[1].cpu()))
    (edits, ppl, moved, c), (edits_cpu, ppl_cpu, moved_cpu, c_cpu) = found
    assert edits == pytest.approx(edits_cpu, rel=1e-3)
    assert ppl == pytest.approx(ppl_cpu, rel=1e-3)
    assert moved == pytest.approx(moved_cpu, rel=1e-2)
    assert torch.allclose(c, c_cpu, rtol=1e-4, atol=1e-4 * float(c_cpu.abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize("mixed", [False, True])
def test_training_mend(mixed: bool, cuda: str) -> None:
    losses = []
    for where in (cuda, "cpu"):
        trainer = Trainer(tiny("llama", where), facts(), settings(mixed_precision=mixed))
        run(trainer)
        losses.append(trainer.losses)
    assert losses[0] == pytest.approx(losses[1], rel=0.05 if mixed else 1e-3)
