"""Gemma 3 270M in both engines: token for token in float32 over 40 prompts, before a ROME edit, after, and undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from rect import EditableModel, editors, fact_files
from tasks.engines.transformers_engine import TransformersEngine
from tasks.engines.vllm_engine import VLLMEngine

pytestmark = [pytest.mark.gemma, pytest.mark.vllm]

NAME = "gemma-3-270m"
FACTS = fact_files.bundled()[:20]
PROMPTS = [fact.filled for fact in FACTS] + [fact.rephrasings[0] for fact in FACTS]
BUDGETS = [(1, 5, 12)[i % 3] for i in range(len(PROMPTS))]
LIMITS = {"max_model_len": 256}


def test_token_for_token_before_and_after_an_edit(gemma_folder: Path) -> None:
    assert len(set(PROMPTS)) == 40
    model = EditableModel.load(NAME, "cpu")
    quick = {"mom2_adjustment": False, "context_template_length_params": [[5, 2]], "v_num_grad_steps": 10}
    model.add(editors.create("rome", model, quick).compute(model, FACTS[:1]))
    edit = model.changed()
    with (
        VLLMEngine(gemma_folder, kv_cache_gib=0.25, **LIMITS) as engine,
        TransformersEngine(gemma_folder, **LIMITS) as other,
    ):
        before = engine.generate(PROMPTS, BUDGETS)
        assert before == other.generate(PROMPTS, BUDGETS)
        engine.load(edit)
        other.load(edit)
        after = engine.generate(PROMPTS, BUDGETS)
        assert after == other.generate(PROMPTS, BUDGETS)
        assert after[0] != before[0]
        assert len(set(after)) >= 20
        engine.restore()
        assert engine.generate(PROMPTS, BUDGETS) == before
