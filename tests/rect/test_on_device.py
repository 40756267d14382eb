"""Regularizers, metrics and all that measures, on a model that lies on another device (`tests/pretended.py`), against
themselves on the CPU."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from modelfolder.errors import InputError
from rect import analysis, covariance, evaluation, metrics, perplexity, regularizers, sampling, tracing, weights
from rect.closed_form import Prior, adjusted
from rect.corpus import SELF, Corpus
from rect.facts import Fact, Locality, Portability
from rect.forcing import target_probability
from rect.history import KEYS, History
from rect.key_covariance import Covariance
from rect.model import EditableModel
from rect.prefixes import Prefixes
from rect.recipe import Recipe
from rect.regularizers import Weights, WithCovariance
from rect.update import Dense, LowRank, Update
from tests.pretended import DEVICE, lacking
from tests.rect.editors.mend_facts import facts
from tests.tiny import FAMILIES, SENTENCES, save_tiny, tiny_model

FACTS = [
    *facts()[:3],
    Fact(
        subject="France",
        prompt="The capital of {} is",
        target="Rome",
        original="Paris",
        rephrasings=("In France people go to",),
        locality=(Locality(prompt="The answer for Italy is", answer="Paris"),),
        portability=(Portability(prompt="In the capital of France people speak", answers=("Spanish", "French")),),
    ),
]

BOUND = 1e-4
"""Relative, for numbers that float32 carries; an element at a mask's threshold is kept by one rounding and cut by
another, so of a masked update so much of its norm may be off, which is an element or two."""


def tiny(family: str, device: str = "cpu", seed: int = 0) -> EditableModel:
    model, tokenizer = tiny_model(family, seed=seed)
    return EditableModel(model.to(device), tokenizer, name=f"tiny-{family}")


def update(model: EditableModel, seed: int, device: str = "cpu") -> Update:
    """Of two facts at two layers, with their keys."""
    draw = torch.Generator().manual_seed(seed)
    entries, memory = {}, {}
    for layer in (0, 1):
        name = model.mlp_out_name(layer)
        rows, columns = model.weight(name).shape
        left, right = 0.3 * torch.randn(rows, 2, generator=draw), 0.3 * torch.randn(2, columns, generator=draw)
        inputs = rows if model.architecture.transposed else columns
        entries[name] = LowRank(left.to(device), right.to(device))
        memory[name] = {KEYS: torch.randn(2, inputs, generator=draw).to(device)}
    return Update(entries, memory=memory)


def of_keys(model: EditableModel, device: str = "cpu") -> Covariance:
    n = covariance.dimension(model, 0)
    keys = [torch.randn(2 * n, n, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1)]
    return Covariance({i: (k.T @ k / len(k)).to(device) for i, k in enumerate(keys)}, 10 * n, {})


def close(there: Update, here: Update, bound: float = BOUND) -> None:
    assert list(there) == list(here)
    for name in here:
        assert (there.dense(name).cpu() - here.dense(name)).norm() <= bound * here.dense(name).norm(), name


def same(there: Any, here: Any) -> None:
    """Figures, however they are nested, up to rounding."""
    if isinstance(here, torch.Tensor):
        torch.testing.assert_close(there.cpu(), here, rtol=BOUND, atol=BOUND)
    elif isinstance(here, float):
        assert there == pytest.approx(here, rel=BOUND, abs=1e-6, nan_ok=True)
    elif isinstance(here, dict):
        assert list(there) == list(here)
        same(list(there.values()), list(here.values()))
    elif isinstance(here, (list, tuple)):
        assert len(there) == len(here)
        for one, other in zip(there, here, strict=True):
            same(one, other)
    else:
        assert there == here


class TestRegularizers:
    """An update comes from the store, so from the CPU, or straight from an editor."""

    @pytest.mark.parametrize("stored", [(1, 2, 3), (), (1, 3)], ids=["stored", "computed", "in turns"])
    @pytest.mark.parametrize("family", ["gpt2", "llama"])
    @pytest.mark.parametrize("name", regularizers.REGULARIZERS)
    def test_three_operations(self, name: str, family: str, stored: tuple[int, ...]) -> None:
        results = []
        for device in (DEVICE, "cpu"):
            model = tiny(family, device)
            asked: Weights = WithCovariance(model, of_keys(model, "cpu" if stored else device))  # type: ignore[assignment]
            history, kept, shares = History(), [], []
            for seed in (1, 2, 3):
                raw = update(model, seed, "cpu" if seed in stored else device)
                kept.append(regularizers.get(name)(raw, asked, 40, seed, history))
                shares.append(regularizers.shares(raw, kept[-1]))
                model.add(kept[-1])
                history = history.after(kept[-1])
            assert {p.device.type for p in model.changed().values()} == {torch.device(device).type}
            results.append((kept, shares, model))
        (there, some, edited), (here, others, model) = results
        for one, other in zip(there, here, strict=True):
            close(one, other)
        assert torch.tensor([list(figure.values()) for one in some for figure in one.values()]).allclose(
            torch.tensor([list(figure.values()) for one in others for figure in one.values()]), atol=1e-3
        )
        for one, other in zip(edited.changed().items(), model.changed().items(), strict=True):
            same(one, other)

    @pytest.mark.parametrize("name", [n for n, r in regularizers.REGULARIZERS.items() if not r.remembers])
    def test_at_a_checkpoint(self, name: str) -> None:
        results = []
        for device in (DEVICE, "cpu"):
            model = tiny("llama", device)
            asked: Any = WithCovariance(model, of_keys(model))
            model.add(update(model, 1))
            made, kept = regularizers.at_checkpoint(regularizers.get(name), model, asked, 40)
            results.append((made, kept))
        for there, here in zip(*results, strict=True):
            close(there, here)

    def test_a_mask_of_chance_is_the_same_to_the_bit(self) -> None:
        one, other = (
            regularizers.random(update(tiny("llama"), 1, device), tiny("llama", device), 40, 5)
            for device in (DEVICE, "cpu")
        )
        for name in one:
            assert one.dense(name).device.type == DEVICE
            assert torch.equal(one.dense(name).cpu() != 0, other.dense(name) != 0)


@pytest.mark.parametrize("past", [None, 3, 40])
@pytest.mark.parametrize("prior", ["identity", "covariance", "ridge", "null space"])
def test_the_closed_form(prior: str, past: int | None) -> None:
    """In both ways to solve it, which depend on how many keys there are; C lies on the CPU, as read from the cache."""
    n = 48
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    of = Covariance({0: matrix @ matrix.T}, 10 * n, {}).of(0)
    priors = {
        "identity": Prior(2.0, scale=0.5),
        "covariance": Prior(2.0, covariance=of),
        "ridge": Prior(2.0, ridge=1.0, covariance=of),
        "null space": Prior(0.0, ridge=1.0, directions=of.null_space(share=60)),
    }
    draw = torch.Generator().manual_seed(1)
    keys, earlier = (torch.randn(n, count, generator=draw, dtype=torch.float64) for count in (4, past or 1))
    here = adjusted(keys, priors[prior], None if past is None else earlier)
    there = adjusted(keys.to(DEVICE), priors[prior], None if past is None else earlier.to(DEVICE))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-8, atol=1e-10)


class TestMeasurements:
    @pytest.fixture(scope="class", params=["gpt2", "llama", "gemma2"])
    def both(self, request: pytest.FixtureRequest) -> tuple[EditableModel, EditableModel]:
        return tiny(request.param, DEVICE), tiny(request.param)

    def test_scores_of_edits(self, both: tuple[EditableModel, EditableModel]) -> None:
        found = []
        for model in both:
            baseline = evaluation.locality_baseline(model, FACTS)
            with model.edited(update(model, 1)):
                found.append(evaluation.evaluate(model, FACTS, baseline).per_fact)
        same(*found)

    @pytest.mark.parametrize("name", [name for name, one in metrics.METRICS.items() if isinstance(one, metrics.Metric)])
    def test_every_metric_that_reads_the_model(self, name: str, both: tuple[EditableModel, EditableModel]) -> None:
        there, here = (metrics.get(name)(model, FACTS).per_fact for model in both)  # type: ignore[operator]
        assert any(not math.isnan(value) for values in here.values() for value in values)
        same(there, here)

    def test_perplexity_and_drift(self, both: tuple[EditableModel, EditableModel]) -> None:
        texts, found = perplexity.neutral_paragraphs()[:4], []
        for model in both:
            before = perplexity.next_token_log_probabilities(model, texts)
            assert before.device.type == "cpu"
            with model.edited(update(model, 1)):
                found.append((perplexity.log_likelihoods(model, texts), perplexity.drifts(before, model, texts)))
        same(*found)

    def test_what_a_model_says(self, both: tuple[EditableModel, EditableModel]) -> None:
        same(*(model.complete("The capital of France is", 8) for model in both))
        same(*(target_probability(model, "The capital of France is", "Rome") for model in both))

    def test_weights(self, both: tuple[EditableModel, EditableModel]) -> None:
        found = []
        for model in both:
            with model.edited(update(model, 1)):
                found.append(weights.statistics(model, covariance=of_keys(model)))
        same(*found)

    @pytest.mark.parametrize("stored", [True, False], ids=["stored", "computed"])
    def test_a_trace_of_updates(self, stored: bool, both: tuple[EditableModel, EditableModel]) -> None:
        there, here = (
            analysis.trace(model, [update(model, seed, "cpu" if stored else model.device.type) for seed in (1, 2)])
            for model in both
        )
        same(there, here)

    def test_pictures_of_weights(self, both: tuple[EditableModel, EditableModel]) -> None:
        found = []
        for model in both:
            name = model.mlp_out_name(0)
            delta = update(model, 1).dense(name)
            change = regularizers.relative_change(delta, model.weight(name))
            survive = analysis.surviving(model.weight(name), delta * 1e-3, torch.bfloat16)
            percentiles, counts = analysis.percentiles(change), analysis.histogram(change).counts
            found.append((survive, percentiles, counts, analysis.heat_map(change)))
        same(*found)


class TestTracing:
    @pytest.mark.parametrize("site", ["mlp", "block"])
    @pytest.mark.parametrize("family", ["gpt2", "llama"])
    def test_the_effect_of_each_layer(self, family: str, site: Any) -> None:
        """Of a fact whose answer is what the model says, which it is made to be."""
        model = tiny(family)
        ids = torch.tensor([model.tokenizer("The capital of France is")["input_ids"]])
        told = int(model.hf(ids).logits[0, -1].argmax())
        found = []
        with pytest.MonkeyPatch.context() as patch:
            asked = tracing._prompt
            patch.setattr(tracing, "_prompt", lambda *args: dataclasses.replace(asked(*args), answer=told))
            for device in (DEVICE, "cpu"):
                profile = tracing.profile(tiny(family, device), FACTS[-1:], site, draws=2)
                found.append((profile.effects, profile.clean, profile.corrupted))
        same(*found)


class TestTexts:
    @pytest.mark.parametrize("family", ["gpt2", "llama"])
    def test_prefixes_are_drawn_from_the_cpu_s_numbers(self, family: str) -> None:
        """So that a seed means the same; rounding tips no draw of these few."""
        there, here = (Prefixes.sample(tiny(family, device), 3, [[5, 4]]) for device in (DEVICE, "cpu"))
        assert there == here

    def test_sampled_text(self) -> None:
        there, here = (list(sampling.batches(tiny("llama", device), 120, 20, 60, seed=1)) for device in (DEVICE, "cpu"))
        assert there == here

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    @pytest.mark.parametrize("source", ["file", SELF])
    def test_a_covariance(self, source: str, precision: str, tmp_path: Path) -> None:
        text = tmp_path / "sentences.txt"
        text.write_text("\n".join(SENTENCES), encoding="utf-8")
        corpus = Corpus(SELF if source == SELF else str(text))
        found = []
        for device in (DEVICE, "cpu"):
            model = tiny("llama", device)
            recipe = Recipe(model.name, corpus, tokens=200, window=40, cap=80, precision=precision)
            found.append(covariance.ensure(model, recipe, [0, 2], tmp_path / device))
        there, here = found
        assert there.identity == here.identity
        for layer in (0, 2):
            same(there.matrix(layer), here.matrix(layer))

    def test_a_covariance_that_lies_there(self) -> None:
        model = tiny("llama")
        there, here = of_keys(model, DEVICE), of_keys(model)
        right = torch.randn(covariance.dimension(model, 0), 3, generator=torch.Generator().manual_seed(0)).double()
        same(there.of(0).solve(right.to(DEVICE)), here.of(0).solve(right))
        same(there.of(0).solve(right), here.of(0).solve(right))  # of another device than the factor that is kept
        values, vectors = there.of(0).null_space(share=50)
        expected, others = here.of(0).null_space(share=50)
        same(values, expected)
        same(vectors @ vectors.T, others @ others.T)


class TestModel:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_it_is_loaded_there_edited_and_put_back_to_the_bit(self, family: str, tmp_path: Path) -> None:
        folder = save_tiny(family, tmp_path / "model")
        there, here = (EditableModel.load(folder, device) for device in (DEVICE, "cpu"))
        assert {p.device.type for p in there.hf.parameters()} == {DEVICE}
        assert there.content == here.content
        before = {name: p.clone() for name, p in there.hf.named_parameters()}
        change = update(here, 1)
        ids = torch.tensor([here.tokenizer("The capital of France is")["input_ids"]])
        logits = []
        for model in (there, here):
            with model.edited(change):
                logits.append(model.hf(ids.to(model.device)).logits)
                between, back = Update.between(folder, model), Update.between(model, folder)
                assert {p.device.type for p in model.changed().values()} == {model.device.type}
            close(between, change, 1e-3)  # a difference of weights in float32
            assert all(torch.equal(back.dense(name).cpu(), -between.dense(name).cpu()) for name in between)
        same(*logits)
        assert all(torch.equal(p, before[name]) for name, p in there.hf.named_parameters())

    def test_it_is_saved_from_there(self, tmp_path: Path) -> None:
        folder = save_tiny("gpt2", tmp_path / "model")
        model = EditableModel.load(folder, DEVICE)
        change = update(model, 1)
        with model.edited(change):
            model.save(tmp_path / "edited")
        close(Update.between(folder, tmp_path / "edited"), change, 1e-3)

    def test_an_update_of_there_is_stored_as_one_of_here(self) -> None:
        model = tiny("llama")
        there, here = (update(model, 1, device) for device in (DEVICE, "cpu"))
        assert there.to_bytes() == here.to_bytes()
        read = Update.from_bytes(there.to_bytes())
        assert {t.device.type for entry in read.values() for t in vars(entry).values()} == {"cpu"}
        written_out = Update({name: Dense(entry.dense()) for name, entry in read.items()})
        for other in (read, written_out):
            close(there + other, here + here)
            close(other + there, here + here)

    @pytest.mark.parametrize("order", [(DEVICE, "cpu"), ("cpu", DEVICE)])
    def test_a_history_of_stored_and_computed_operations(self, order: tuple[str, str]) -> None:
        model, history, alone = tiny("llama"), History(), History()
        for seed, device in enumerate(order):
            history, alone = history.after(update(model, seed, device)), alone.after(update(model, seed))
        name, n = model.mlp_out_name(0), covariance.dimension(model, 0)
        there, here = history.past(name, n), alone.past(name, n)
        assert there is not None
        same(there, here)

    def test_a_device_without_float64_is_refused(self, tmp_path: Path) -> None:
        folder = save_tiny("llama", tmp_path / "model")
        said = r"device 'pretended' cannot be used \(pretended has no torch.float64\)"
        with lacking(torch.float64), pytest.raises(InputError, match=said):
            EditableModel.load(folder, DEVICE)
        assert math.isfinite(float(EditableModel.load(folder, DEVICE).hf.get_input_embeddings().weight.sum()))
