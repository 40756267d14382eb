"""ROME with the values that are shipped for a model, on facts that `sweeps tune` does not look at: one edit takes, and
moves little else.
"""

from __future__ import annotations

import statistics

import pytest

from rect import editors, evaluation, fact_files, models, perplexity
from rect.editors import hyperparameters
from rect.model import EditableModel
from sweeps.plan import tuning
from sweeps.run.measure import neutral_prompts

FACTS = 20


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(models.DEFAULT, marks=[pytest.mark.model, pytest.mark.slow]),
        pytest.param("gemma-3-270m", marks=[pytest.mark.gemma, pytest.mark.timeout(3600)]),  # its text is sampled first
    ],
)
def test_one_edit_takes_and_moves_little(name: str, request: pytest.FixtureRequest) -> None:
    if name != models.DEFAULT:
        request.getfixturevalue("gemma_folder")
    assert hyperparameters.shipped("rome", name) is not None
    _, unseen = tuning.split(fact_files.bundled())
    model = EditableModel.load(name, device="cpu")
    before, prompts = perplexity.next_token_log_probabilities(model, neutral_prompts()), neutral_prompts()
    editor, reliability, drift = editors.create("rome", model), [], []
    for fact in unseen[:FACTS]:
        with model.edited(editor.compute(model, [fact])):
            reliability.append(evaluation.evaluate(model, [fact]).per_fact[evaluation.RELIABILITY][0])
            drift.append(perplexity.drift(before, model, prompts))
    assert not model.changed()
    assert statistics.fmean(reliability) >= 0.9
    assert statistics.fmean(drift) < 0.05
