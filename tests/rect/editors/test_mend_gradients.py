"""How MEND sees a model: gradients taken apart, the upper blocks alone, edits that act without touching weights."""

from __future__ import annotations

import pytest
import torch

from rect.editors.mend import saved
from rect.editors.mend.data import Examples, answered
from rect.editors.mend.hypernetwork import Hypernetwork, Pair
from rect.editors.mend.step import Editing, per_row
from rect.editors.mend.training import edited_names
from rect.editors.mend.upper import Upper
from rect.editors.value_search.losses import read_logits
from rect.facts import Fact
from rect.model import EditableModel
from rect.prompts import continue_with
from rect.update import LowRank, Update
from tests.tiny import FAMILIES, tiny_model

PAIRS = [("The capital of France is", "Rome"), ("What language do people speak in Spain?", "French and English")]
ASKED = [(*pair, None) for pair in PAIRS]


def tiny(family: str) -> EditableModel:
    return EditableModel(*tiny_model(family))


def editing(model: EditableModel, blocks: int = 2) -> Editing:
    names = edited_names(model, blocks)
    return Editing(model, Hypernetwork({n: saved.matrix_shape(model, n) for n in names}, 8, 1, 1e-2))


def grad_of(pair: Pair, transposed: bool) -> torch.Tensor:
    x, delta = pair
    return x.T @ delta if transposed else delta.T @ x


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_taken_apart_are_those_of_the_weights(family: str) -> None:
    model = tiny(family)
    rows = answered(model.tokenizer, ASKED, model.device)
    pairs = editing(model).gradients(rows)
    parameters = dict(model.hf.named_parameters())
    for name in pairs:
        parameters[name].requires_grad_()
    asked = rows.targets != -100
    logits = model.hf(rows.ids, use_cache=False).logits[asked]
    per_row(logits, rows).sum().backward()
    assert len(pairs) == 2 * (len(model.architecture.mlp_in) + 1)
    for name, pair in pairs.items():
        expected = parameters[name].grad
        assert expected is not None
        assert expected.abs().max() > 1e-4
        error = (grad_of(pair, model.architecture.transposed) - expected).abs().max()
        assert error <= 1e-5 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_upper_blocks_give_what_the_whole_model_gives(family: str) -> None:
    model = tiny(family)
    upper = Upper(model, edited_names(model, 1))
    assert upper.first == model.n_layers - 1
    rows = answered(model.tokenizer, ASKED, model.device)
    state = upper.read(rows.ids)
    for i, (prompt, _) in enumerate(PAIRS):
        ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
        hidden = upper.run(state.rows(slice(i, i + 1)))[:, : ids.shape[1]]
        with torch.no_grad():
            alone = model.hf(ids, use_cache=False).logits
        assert torch.allclose(read_logits(model, hidden), alone, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_in_passing_is_the_edit_of_the_weights(family: str) -> None:
    model = tiny(family)
    upper = Upper(model, edited_names(model, 2))
    generator = torch.Generator().manual_seed(1)
    factors, entries = {}, {}
    for name in upper.names:
        inner, outer = saved.matrix_shape(model, name)
        a, b = torch.randn(3, inner, generator=generator), 0.02 * torch.randn(3, outer, generator=generator)
        factors[name] = (a, b)
        entries[name] = LowRank(a.T, b) if model.architecture.transposed else LowRank(b.T, a)
    rows = answered(model.tokenizer, ASKED, model.device)
    with torch.no_grad():
        state = upper.read(rows.ids)
        plain = read_logits(model, upper.run(state))
        with upper.edited(factors):
            passing = read_logits(model, upper.run(state))
        with model.edited(Update(entries)):
            edited = model.hf(rows.ids, use_cache=False).logits
    real = rows.real
    assert (edited - plain)[real].abs().max() > 0.1
    assert torch.allclose(passing[real], edited[real], atol=1e-3)


def test_the_gradients_of_a_batch_are_those_of_its_facts_side_by_side() -> None:
    model = tiny("llama")
    work = editing(model)
    together = work.gradients(answered(model.tokenizer, ASKED, model.device))
    alone = [work.gradients(answered(model.tokenizer, [one], model.device)) for one in ASKED]
    for name, (x, delta) in together.items():
        assert torch.allclose(x, torch.cat([one[name][0] for one in alone]), rtol=1e-4, atol=1e-4)
        assert torch.allclose(delta, torch.cat([one[name][1] for one in alone]), rtol=1e-4, atol=1e-4)


def test_losses_are_means_over_the_target_tokens_of_each_row() -> None:
    model = tiny("llama")
    rows = answered(model.tokenizer, ASKED, model.device)
    losses = per_row(model.hf(rows.ids, use_cache=False).logits[rows.targets != -100], rows)
    for (prompt, answer), loss in zip(PAIRS, losses, strict=True):
        ids = torch.tensor([model.tokenizer(f"{prompt} {answer}")["input_ids"]])
        labels = ids.clone()
        labels[:, : len(model.tokenizer(prompt)["input_ids"])] = -100
        assert float(loss) == pytest.approx(float(model.hf(ids, labels=labels).loss), abs=1e-4)


def test_the_edit_loss_is_the_release_s() -> None:
    """The mean over all target tokens of the rephrasings; of the edit prompt where a fact has no rephrasing."""
    model = tiny("llama")
    facts = [
        Fact(subject="France", prompt="The capital of {} is", target="Rome", rephrasings=("In France the capital is",)),
        Fact(subject="Albert Einstein", prompt="{} was born in", target="Spain, or in Italy"),
    ]
    at_work = editing(model)
    outcome = at_work.step(Examples(model.tokenizer, facts, 2, 0, model.device).example(facts, 0))
    edit = answered(model.tokenizer, [(fact.filled, fact.target, fact.space) for fact in facts], model.device)
    factors = at_work.network(at_work.gradients(edit))
    entries = {name: LowRank(b.T.contiguous(), a.contiguous()) for name, (a, b) in factors.items()}
    losses = []
    with torch.no_grad(), model.edited(Update(entries)):
        for prompt, target in ((facts[0].rephrasings[0], facts[0].target), (facts[1].filled, facts[1].target)):
            ids, after = continue_with(model.tokenizer, prompt, target)
            said = model.hf(torch.tensor([[*ids, *after]])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
            losses += [-float(said[i, token]) for i, token in enumerate(after)]
    assert len(losses) > 2
    assert outcome.edit.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)
