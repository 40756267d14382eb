"""Edit metrics against a definition that is written out: one prompt at a time, all logits, no batches."""

from __future__ import annotations

import math

import pytest
import torch

from modelfolder.errors import InputError
from rect import evaluation, perplexity
from rect.facts import Fact, Locality
from rect.model import EditableModel
from tests.tiny import tiny_model

FACTS = [
    Fact(
        subject="Anna",
        prompt="{} lives in the city of",
        target="Rome by the sea",
        original="Paris",
        rephrasings=("The home of Anna is in", "In which town does Anna live? In"),
        locality=(Locality(prompt="The capital of Spain is", answer="Madrid"), Locality(prompt="The sun is")),
    ),
    Fact(subject="the river", prompt="A long way down {} flows into", target="the lake"),
]


@pytest.fixture(params=["llama", "gpt2", "gemma"])
def model(request: pytest.FixtureRequest) -> EditableModel:
    hf, tokenizer = tiny_model(request.param)
    return EditableModel(hf, tokenizer)


def forced(model: EditableModel, prompt: str, answer: str) -> tuple[list[int], list[int], float]:
    """(argmax tokens, tokens of the answer, log-probability of the answer), from one plain forward pass."""
    ids = model.tokenizer(prompt)["input_ids"]
    whole = model.tokenizer(f"{prompt} {answer}")["input_ids"]
    assert whole[: len(ids)] == ids
    target = whole[len(ids) :]
    logits = model.hf(torch.tensor([whole])).logits[0].float()
    said = logits[len(ids) - 1 : -1]
    return said.argmax(-1).tolist(), target, float(said.log_softmax(-1)[range(len(target)), target].sum())


def definition(model: EditableModel, fact: Fact, prompts: list[str]) -> tuple[float, float]:
    shares, wins = [], []
    for prompt in prompts:
        argmax, target, new = forced(model, prompt, fact.target)
        shares.append(sum(a == b for a, b in zip(argmax, target, strict=True)) / len(target))
        if fact.original:
            wins.append(float(new > forced(model, prompt, fact.original)[2]))
    return sum(shares) / len(shares), sum(wins) / len(wins) if wins else math.nan


def test_batched_scores_equal_the_definition(model: EditableModel) -> None:
    scores = evaluation.evaluate(model, FACTS, evaluation.locality_baseline(model, FACTS)).per_fact
    for index, fact in enumerate(FACTS):
        expected = definition(model, fact, [fact.filled])
        found = (scores[evaluation.RELIABILITY][index], scores[evaluation.RELIABILITY_PREFERENCE][index])
        assert found == pytest.approx(expected, nan_ok=True)
    expected = definition(model, FACTS[0], list(FACTS[0].rephrasings))
    found = (scores[evaluation.GENERALIZATION][0], scores[evaluation.GENERALIZATION_PREFERENCE][0])
    assert found == pytest.approx(expected)


def test_facts_without_prompts_of_a_kind_are_left_out_of_n(model: EditableModel) -> None:
    figures = evaluation.evaluate(model, FACTS, evaluation.locality_baseline(model, FACTS)).figures()
    counts = {metric: figure.n for metric, figure in figures.items()}
    assert counts == {
        "reliability/token_accuracy": 2,
        "reliability/preference": 1,
        "generalization/token_accuracy": 1,
        "generalization/preference": 1,
        "locality/token_accuracy": 1,
    }
    assert figures["locality/token_accuracy"].value == 1.0
    assert math.isnan(figures["locality/token_accuracy"].stderr)
    assert "locality/token_accuracy" not in evaluation.evaluate(model, FACTS).figures()


def test_after_an_edit_locality_counts_the_tokens_that_moved(model: EditableModel) -> None:
    facts = FACTS[:1]
    baseline = evaluation.locality_baseline(model, facts)
    name = model.mlp_out_name(1)
    torch.manual_seed(0)
    model.weight(name).add_(torch.randn_like(model.weight(name)))
    after = evaluation.evaluate(model, facts, baseline)
    expected = []
    for prompt, tokens in zip(facts[0].locality, baseline.tokens[0], strict=True):
        if prompt.answer:
            now = forced(model, prompt.prompt, prompt.answer)[0]
        else:
            ids = torch.tensor([model.tokenizer(prompt.prompt)["input_ids"]])
            now = [int(model.hf(ids).logits[0, -1].argmax())]
        expected.append(sum(a == b for a, b in zip(now, tokens, strict=True)) / len(tokens))
    found = after.per_fact[evaluation.LOCALITY][0]
    assert found == pytest.approx(sum(expected) / len(expected))
    assert found < 1
    assert after.per_fact[evaluation.RELIABILITY_PREFERENCE][0] == definition(model, facts[0], [facts[0].filled])[1]


def test_a_baseline_of_other_facts_is_refused(model: EditableModel) -> None:
    with pytest.raises(ValueError, match="other facts"):
        evaluation.evaluate(model, FACTS, evaluation.locality_baseline(model, FACTS[:1]))


@pytest.mark.parametrize("tokenizer", ["byte-level", "metaspace"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_perplexity_asks_every_token_once(family: str, tokenizer: str) -> None:
    """One token after another, each with all that its window holds before it."""
    model = EditableModel(*tiny_model(family, tokenizer=tokenizer))
    texts = [perplexity.neutral_paragraphs()[0][:80], "Short.", ""]
    window = 8
    losses = []
    for text in texts:
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        begin = [model.tokenizer.bos_token_id] if tokenizer == "metaspace" else []
        for place in range(0 if begin else 1, len(ids)):
            inside = place % (window - 1) if begin else (place - 1) % (window - 1) + 1  # tokens of the window before it
            logits = model.hf(torch.tensor([begin + ids[place - inside : place]])).logits[0, -1].float()
            losses.append(-float(logits.log_softmax(-1)[ids[place]]))
    value, tokens = perplexity.perplexity(model, texts, window)
    assert tokens == len(losses) > 5 * window
    assert value == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)


def test_perplexity_of_nothing_is_refused(model: EditableModel) -> None:
    with pytest.raises(InputError, match="too short"):
        perplexity.perplexity(model, [])
    with pytest.raises(InputError, match="a window of 1 token"):
        perplexity.perplexity(model, ["Some text."], window=1)


def test_drift_is_the_mean_divergence_from_the_unedited_model(model: EditableModel) -> None:
    prompts = ["The bread is in", "A long way down the river"]
    before = perplexity.next_token_log_probabilities(model, prompts)
    assert perplexity.drift(before, model, prompts) == 0.0
    name = model.mlp_out_name(1)
    model.weight(name).mul_(1.5)
    now = [model.hf(torch.tensor([model.tokenizer(p)["input_ids"]])).logits[0, -1].log_softmax(-1) for p in prompts]
    expected = torch.nn.functional.kl_div(torch.stack(now), before, log_target=True, reduction="batchmean")
    found = perplexity.drift(before, model, prompts)
    assert found == pytest.approx(float(expected), rel=1e-4)
    assert found > 0


def test_neutral_paragraphs_are_there() -> None:
    paragraphs = perplexity.neutral_paragraphs()
    assert len(paragraphs) == len(set(paragraphs)) == 16
