"""CounterFact's figures against the definition, one prompt at a time, and against the numbers of AlphaEdit's code."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from modelfolder.errors import InputError
from rect import metrics
from rect.fact_readers.counterfact import read
from rect.facts import Fact, Locality
from rect.metrics import counterfact
from rect.model import EditableModel
from rect.update import LowRank, Update
from tests.tiny import tiny_model

FACTS = [
    Fact(
        subject="Anna",
        prompt="{} lives in the city of",
        target="Rome by the sea",
        original="Paris",
        rephrasings=("The home of Anna is in", "In which town does Anna live? In"),
        locality=(
            Locality(prompt="The home of Bertrand is in", answer="Paris"),
            Locality(prompt="Chloe lives in the city of", answer="Paris"),
            Locality(prompt="The capital of Spain is", answer="Madrid"),  # of another answer: no neighborhood prompt
            Locality(prompt="The sun is"),
        ),
    ),
    Fact(subject="the river", prompt="A long way down {} flows into", target="the lake"),
    Fact(subject="Bern", prompt="{} is the capital of", target="Spain", original="Switzerland itself"),
]


@pytest.fixture(params=["llama", "gpt2", "gemma"])
def model(request: pytest.FixtureRequest) -> EditableModel:
    return EditableModel(*tiny_model(request.param))


def nll(model: EditableModel, prompt: str, answer: str) -> tuple[float, bool]:
    """Per token, and whether every token is the argmax: one plain forward pass."""
    ids, whole = (model.tokenizer(text)["input_ids"] for text in (prompt, f"{prompt} {answer}"))
    target = whole[len(ids) :]
    with torch.no_grad():
        said = model.hf(torch.tensor([whole])).logits[0, len(ids) - 1 : -1].float()
    chosen = said.log_softmax(-1)[range(len(target)), target]
    return -float(chosen.mean()), said.argmax(-1).tolist() == target


def definition(model: EditableModel, prompts: list[str], wanted: str, other: str) -> dict[str, float]:
    lines = []
    for prompt in prompts:
        (mine, right), (theirs, _) = nll(model, prompt, wanted), nll(model, prompt, other)
        lines.append((float(mine < theirs), math.exp(-mine) - math.exp(-theirs), float(right)))
    return dict(zip(counterfact.WHAT, np.mean(lines, 0), strict=False))


def test_figures_equal_the_definition(model: EditableModel) -> None:
    found = metrics.get("counterfact")(model, FACTS)
    anna, _, bern = FACTS
    expected = {
        ("efficacy", 0): definition(model, [anna.filled], anna.target, "Paris"),
        ("paraphrase", 0): definition(model, list(anna.rephrasings), anna.target, "Paris"),
        ("specificity", 0): definition(model, [one.prompt for one in anna.locality[:2]], "Paris", anna.target),
        ("efficacy", 2): definition(model, [bern.filled], bern.target, "Switzerland itself"),
    }
    for (kind, index), figures in expected.items():
        for what, value in figures.items():
            assert found.per_fact[f"{kind}/{what}"][index] == pytest.approx(value, abs=1e-5), (kind, index, what)
    assert found.per_fact["efficacy/nll_target"][0] == pytest.approx(nll(model, anna.filled, anna.target)[0], abs=1e-5)
    for kind, without in (("efficacy", [1]), ("paraphrase", [1, 2]), ("specificity", [1, 2])):
        assert [i for i, v in enumerate(found.per_fact[f"{kind}/success"]) if math.isnan(v)] == without


def test_the_score_is_the_harmonic_mean_of_means(model: EditableModel) -> None:
    figures = metrics.get("counterfact")(model, FACTS).figures()
    means = [figures[f"{kind}/success"].value for kind in counterfact.KINDS]
    assert figures[counterfact.SCORE].value == pytest.approx(statistics.harmonic_mean(means))
    assert figures[counterfact.SCORE].n == 1
    assert counterfact.SCORE not in metrics.get("counterfact")(model, FACTS[1:]).figures()  # no neighborhood prompt


def test_what_is_too_long_is_named(model: EditableModel) -> None:
    long = FACTS[0].model_copy(update={"original": "a " * 3000})
    with pytest.raises(InputError, match=r"Anna.*efficacy prompt 1"):
        metrics.get("counterfact")(model, [long])


def test_an_unknown_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'counterfact'"):
        metrics.get("counterfacts")


@pytest.mark.model
def test_equal_to_the_code_of_alphaedit(shared_oracle: Path, default_model_folder: Path) -> None:
    reference = json.loads((shared_oracle / "counterfact.json").read_text())
    arrays = np.load(shared_oracle / "alphaedit.npz")
    model = EditableModel.load(default_model_folder)
    facts = [fact for case in reference["cases"] for fact in read(case, "oracle")]
    entries = {}
    for layer in range(4, 9):
        left, right = (torch.tensor(arrays[f"op0_l{layer}_{side}"]) for side in ("left", "right"))
        entries[model.mlp_out_name(layer)] = LowRank(left, right.T.contiguous())
    for when, changed in (("pre", {}), ("post", entries)):
        with model.edited(Update(changed)):
            found = metrics.get("counterfact")(model, facts)
        for kind, theirs in (("efficacy", "rewrite"), ("paraphrase", "paraphrase"), ("specificity", "neighborhood")):
            for index, case in enumerate(reference["cases"]):
                told = case[when][f"{theirs}_prompts_probs"]
                for ours, key in (("nll_target", "target_new"), ("nll_original", "target_true")):
                    expected = statistics.fmean(one[key] for one in told)
                    assert found.per_fact[f"{kind}/{ours}"][index] == pytest.approx(expected, abs=1e-4)
                expected = statistics.fmean(map(float, case[when][f"{theirs}_prompts_correct"]))
                assert found.per_fact[f"{kind}/accuracy"][index] == expected
            summary, figures = reference["independent_summary"][when], found.figures()
            assert 100 * figures[f"{kind}/success"].value == pytest.approx(summary[kind], abs=1e-3)
            diff = reference["summary"][f"{when}_{theirs}_diff"][0]
            assert 100 * figures[f"{kind}/magnitude"].value == pytest.approx(diff, abs=0.006)  # given to two decimals
        assert 100 * figures[counterfact.SCORE].value == pytest.approx(summary["score"], abs=1e-2)
