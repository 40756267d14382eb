"""The KN editor: which neurons, what is written into them, and that the model stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modelfolder.errors import InputError
from rect.editors import hyperparameters
from rect.editors.kn import attribution
from rect.editors.kn.editor import Kn, KnHparams
from rect.facts import Fact
from rect.model import EditableModel
from rect.update import LowRank, Update
from tests.tiny import FAMILIES, tiny_model

FACT = Fact(
    subject="France",
    prompt="The capital of {} is",
    target="Rome",
    original="Paris",
    rephrasings=("In France people go to", "What is the capital of France?"),
)


def tiny(family: str, **overrides: object) -> EditableModel:
    return EditableModel(*tiny_model(family, **overrides))


def editor(**values: object) -> Kn:
    return Kn(KnHparams(steps=4, **values))


def bytes_of(model: EditableModel) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.hf.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_is_embeddings_times_an_indicator(family: str) -> None:
    model = tiny(family)
    before = bytes_of(model)
    kn = editor()
    update = kn.compute(model, [FACT])
    assert all(torch.equal(p, before[name]) for name, p in model.hf.named_parameters())
    assert not any(p.requires_grad for p in model.hf.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())

    neurons = kn.neurons(model, FACT)
    difference = kn.difference(model, FACT)
    assert neurons
    for layer in range(model.n_layers):
        name = model.mlp_out_name(layer)
        expected = torch.zeros(model.weight(name).shape)
        for where, index in neurons:
            if where == layer and model.architecture.transposed:
                expected[index, :] += difference
            elif where == layer:
                expected[:, index] += difference
        if name in update:
            assert isinstance(update[name], LowRank)
            assert update[name].rank == 1
            assert torch.equal(update.dense(name), expected)
        else:
            assert not expected.any()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_an_update_of_several_layers_is_saved_and_loaded(family: str, tmp_path: Path) -> None:
    model = tiny(family)
    update = editor(adaptive_threshold=0).compute(model, [FACT])
    assert len(update) == model.n_layers  # the layers have a factor in common
    update.save(tmp_path / "update.safetensors")
    again = Update.load(tmp_path / "update.safetensors")
    assert list(again) == list(update)
    assert all(torch.equal(again.dense(name), update.dense(name)) for name in update)
    assert again.provenance["neurons"] == update.provenance["neurons"]


def test_neurons_are_those_above_a_share_of_the_highest_score() -> None:
    model = tiny("llama")
    ids = model.tokenizer(FACT.filled)["input_ids"]
    answer = model.tokenizer(" Paris", add_special_tokens=False)["input_ids"]
    scores = attribution.scores(model, ids, answer, 4, 128)
    expected = {
        (layer, index)
        for layer in range(scores.shape[0])
        for index in range(scores.shape[1])
        if scores[layer, index] > 0.5 * scores.max()
    }
    assert 0 < len(expected) < 30
    assert set(editor(adaptive_threshold=0.5).neurons(model, FACT)) == expected


def test_refining_keeps_neurons_shared_by_enough_prompts() -> None:
    model = tiny("gpt2")
    single = {
        prompt: set(editor().neurons(model, FACT.model_copy(update={"prompt": prompt, "rephrasings": ()})))
        for prompt in (FACT.filled, *FACT.rephrasings)
    }
    assert len(set(map(frozenset, single.values()))) == 3
    every = [neuron for found in single.values() for neuron in found]
    for p, least in ((0.0, 1), (1 / 3, 2), (0.4, 2), (0.7, 3)):
        expected = sorted({neuron for neuron in every if every.count(neuron) >= least})
        assert editor(refine=True, p=p).neurons(model, FACT) == expected
    assert editor(p=0.7).neurons(model, FACT) == sorted(single[FACT.filled])


def test_the_difference_is_target_minus_what_the_model_says() -> None:
    model = tiny("llama")
    embedding = model.hf.get_input_embeddings().weight
    ids = model.tokenizer(FACT.filled)["input_ids"]
    several = model.tokenizer(" Rome", add_special_tokens=False)["input_ids"]
    assert len(several) > 1
    old = attribution.greedy(model, ids, len(several))
    expected = embedding[several].sum(0) - embedding[old].sum(0)
    assert torch.allclose(editor(lr_scale=0.5).difference(model, FACT), 0.5 * expected, atol=1e-6)

    one = FACT.model_copy(update={"target": "is"})
    (token,) = model.tokenizer(" is", add_special_tokens=False)["input_ids"]
    expected = 2 * embedding[token] - 2 * embedding[old[0]]
    assert torch.allclose(editor().difference(model, one), expected, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_the_edit_moves_the_model_to_the_target(family: str) -> None:
    model = tiny(family, tie_word_embeddings=True)  # then an embedding is what raises its token's logit
    ids = model.tokenizer(FACT.filled)["input_ids"]
    fact = FACT.model_copy(update={"target": "is", "original": None})
    (token,) = model.tokenizer(" is", add_special_tokens=False)["input_ids"]
    old = attribution.greedy(model, ids, 1)[0]

    def margin() -> float:
        with torch.no_grad():
            logits = model.hf(torch.tensor([ids])).logits[0, -1]
        return float(logits[token] - logits[old])

    before = margin()
    with model.edited(editor().compute(model, [fact])):
        assert margin() > before + 1
    assert margin() == before


def test_a_target_that_is_what_the_model_says_changes_nothing() -> None:
    model = tiny("llama")
    encode = model.tokenizer
    for subject in ("France", "Italy", "Spain", "Rome", "Ulm", "the Moon", "Albert Einstein", "the river"):
        fact = FACT.model_copy(update={"subject": subject, "target": "Rome", "original": None})
        (said,) = attribution.greedy(model, encode(fact.filled)["input_ids"], 1)
        word = encode.decode([said]).strip()
        if encode(f" {word}", add_special_tokens=False)["input_ids"] == [said]:
            break
    else:
        pytest.fail("the tiny model never says a word of its own")
    update = editor().compute(model, [fact.model_copy(update={"target": word})])
    assert len(update) > 0
    assert not any(update.dense(name).any() for name in update)


def test_without_a_raising_neuron_nothing_is_edited(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny("llama")
    for layer in range(model.n_layers):  # the MLPs say nothing: all scores are 0
        model.weight(model.mlp_out_name(layer)).zero_()
    update = editor().compute(model, [FACT])
    assert len(update) == 0
    assert "nothing is edited" in caplog.text
    with model.edited(update):
        pass


def test_one_fact_at_a_time() -> None:
    with pytest.raises(InputError, match="one fact"):
        editor().compute(tiny("llama"), [FACT, FACT])


def test_hyperparameters_of_the_paper(tmp_path) -> None:
    easyedit = tmp_path / "llama-7b.yaml"
    easyedit.write_text(
        'alg_name: "KN"\nmodel_name: "./hugging_cache/llama-2-7b"\ndevice: 0\n\nlr_scale: 1.0\nn_toks: 10\n'
        "refine: false\nbatch_size: 1\nsteps: 1\nadaptive_threshold: 0.2\np: 0.4\n"
    )
    read = KnHparams.read(easyedit)
    assert (read.steps, read.adaptive_threshold, read.p, read.refine, read.lr_scale) == (1, 0.2, 0.4, False, 1.0)
    known = hyperparameters.declared(KnHparams, None, "openai-community/gpt2-xl")
    assert (known["steps"], known["neurons"]) == (20, "projection")
    with pytest.raises(InputError, match=r"adaptive_threshold"):
        KnHparams.parse({"adaptive_threshold": 2}, "here")


def test_scores_do_not_depend_on_what_was_kept_of_an_earlier_edit() -> None:
    model = tiny("gpt2")
    kn = editor()
    first = kn.compute(model, [FACT])
    with model.edited(first):
        kn.compute(model, [FACT])
    again = kn.compute(model, [FACT])
    assert {n: first.dense(n).tolist() for n in first} == {n: again.dense(n).tolist() for n in again}
