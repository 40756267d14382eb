"""ROME takes on the default model: measured over bundled facts, one single edit each."""

from __future__ import annotations

import math
import statistics

import pytest

from rect import editors, evaluation, fact_files, facts, models
from rect.model import EditableModel

pytestmark = [pytest.mark.model, pytest.mark.slow]


def test_single_edits_are_reliable() -> None:
    model = EditableModel.load(models.DEFAULT)
    editor = editors.create("rome", model)
    before, after = [], []
    for fact in facts.draw(fact_files.bundled(), seed=0, n=8):
        before.append(evaluation.evaluate(model, [fact]).per_fact[evaluation.RELIABILITY_PREFERENCE][0])
        with model.edited(editor.compute(model, [fact])):
            after.append(evaluation.evaluate(model, [fact]).per_fact[evaluation.RELIABILITY_PREFERENCE][0])
    assert not any(math.isnan(value) for value in before + after)
    assert statistics.fmean(before) < 0.5
    assert statistics.fmean(after) >= 7 / 8
    assert not model.changed()
