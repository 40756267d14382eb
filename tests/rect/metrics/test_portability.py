"""Portability under teacher forcing, and locality by kind, against plain forward passes, one prompt at a time."""

from __future__ import annotations

import math

import pytest
import torch

from modelfolder.errors import InputError
from rect import evaluation, metrics
from rect.facts import Fact, Locality, Portability
from rect.model import EditableModel
from rect.update import Dense, Update
from tests.tiny import tiny_model

FACTS = [
    Fact(
        subject="Anna",
        prompt="{} lives in",
        target="Rome",
        portability=(
            Portability(prompt="The river of Anna's city is the", answers=("Tiber", "Tevere"), kind="Reasoning"),
            Portability(prompt="Anna's country is", answers=("the land of Italy",), kind="Reasoning"),
            Portability(prompt="Ann lives in", answers=("Rome by the sea",), kind="Subject_Aliasing"),
            Portability(prompt="Rome is where", answers=("Anna lives",)),
        ),
        locality=(
            Locality(prompt="Anna was born in", answer="Bern", kind="Relation_Specificity"),
            Locality(prompt="Anna's hat is", answer="a red one", kind="Relation_Specificity"),
            Locality(prompt="The sun is", answer="a star"),
        ),
    ),
    Fact(subject="Bern", prompt="{} is the capital of", target="Spain"),
]


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> EditableModel:
    return EditableModel(*tiny_model(request.param))


def argmax(model: EditableModel, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """(argmax tokens, the answer's tokens): one plain forward pass."""
    ids, whole = (model.tokenizer(text)["input_ids"] for text in (prompt, f"{prompt} {answer}"))
    with torch.no_grad():
        said = model.hf(torch.tensor([whole])).logits[0, len(ids) - 1 : -1]
    return said.argmax(-1).tolist(), whole[len(ids) :]


def share(model: EditableModel, prompt: str, answer: str) -> float:
    said, target = argmax(model, prompt, answer)
    return sum(a == b for a, b in zip(said, target, strict=True)) / len(target)


def taught(model: EditableModel) -> EditableModel:
    """A model that says some of the answers: trained on them for some steps."""
    model.hf.requires_grad_(True)
    optimizer = torch.optim.Adam(model.hf.parameters(), lr=1e-2)
    texts = [f"{one.prompt} {one.answers[0]}" for one in FACTS[0].portability[1:3]]
    for _ in range(25):
        for text in texts:
            ids = torch.tensor([model.tokenizer(text)["input_ids"]])
            model.hf(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.hf.requires_grad_(False)
    return model


def test_figures_equal_the_definition(model: EditableModel) -> None:
    for one in (model, taught(model)):
        found = metrics.get("portability")(one, FACTS).per_fact  # type: ignore[operator]
        shares = [share(one, asked.prompt, asked.answers[0]) for asked in FACTS[0].portability]
        means = (shares[0] + shares[1]) / 2, shares[2], shares[3]
        nan = pytest.approx(math.nan, nan_ok=True)
        assert found == {
            "portability/token_accuracy": (pytest.approx(sum(means) / 3), nan),  # over the kinds
            "portability/Reasoning/token_accuracy": (pytest.approx(means[0]), nan),
            "portability/Subject_Aliasing/token_accuracy": (pytest.approx(means[1]), nan),
        }
    assert shares[1] > 0.5, "nothing was learned: every share would be 0"
    assert shares[2] > 0.5


def test_facts_without_portability_have_no_figure(model: EditableModel) -> None:
    assert metrics.get("portability")(model, FACTS[1:]).figures() == {}  # type: ignore[operator]


def test_a_prompt_that_is_too_long_is_named(model: EditableModel) -> None:
    asked = Portability(prompt="x " * 300, answers=("y",))
    fact = FACTS[1].model_copy(update={"portability": (asked,)})
    with pytest.raises(InputError, match=r"fact 'Bern is the capital of': portability prompt 1 has .* tokens"):
        metrics.get("portability")(model, [fact])  # type: ignore[operator]


def test_locality_by_kind(model: EditableModel) -> None:
    baseline = evaluation.locality_baseline(model, FACTS)
    before = [argmax(model, one.prompt, str(one.answer))[0] for one in FACTS[0].locality]
    name = model.mlp_out_name(1)
    torch.manual_seed(1)
    with model.edited(Update({name: Dense(torch.randn_like(model.weight(name)) * 3)})):
        found = evaluation.evaluate(model, FACTS, baseline).per_fact
        after = [argmax(model, one.prompt, str(one.answer))[0] for one in FACTS[0].locality]
    kept = [sum(a == b for a, b in zip(*both, strict=True)) / len(both[0]) for both in zip(before, after, strict=True)]
    assert found["locality/Relation_Specificity/token_accuracy"][0] == pytest.approx((kept[0] + kept[1]) / 2)
    assert found["locality/token_accuracy"][0] == pytest.approx(sum(kept) / 3)
    assert math.isnan(found["locality/Relation_Specificity/token_accuracy"][1])
    assert [name for name in found if name.startswith("locality/")] == [
        "locality/token_accuracy",
        "locality/Relation_Specificity/token_accuracy",
    ]
    assert kept != [1, 1, 1]
