"""Free generation: vLLM and transformers say the same to the questions of a metric, before and after an edit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rect import fact_files, facts, metrics
from tasks.engines.base import Engine
from tasks.engines.transformers_engine import TransformersEngine
from tasks.engines.vllm_engine import VLLMEngine

pytestmark = [pytest.mark.vllm, pytest.mark.model, pytest.mark.slow]

EDITED = "model.layers.12.mlp.down_proj.weight"


def answers(engine: Engine, edit: dict[str, torch.Tensor]) -> dict[tuple[str, bool], list[list[int]]]:
    """Tokens of the answers about ten facts, by metric and whether the model is edited."""
    drawn = facts.draw(fact_files.bundled(), 0, 10)
    found = {}
    for name, edited in (("generation", False), ("generation", True), ("generation-chat", True)):
        metric = metrics.get(name)
        assert isinstance(metric, metrics.Spoken)
        prompts = engine.texts.encode([one.text for one in metric.questions(drawn, engine.chat)])
        engine.load(edit if edited else {})
        found[name, edited] = engine.generate_ids(prompts, [metric.budget] * len(prompts))
    return found


def test_engines_agree_token_for_token(default_model_folder: Path) -> None:
    weight = load_file(default_model_folder / "model.safetensors")[EDITED].float()
    left, right = (torch.randn(n, generator=torch.Generator().manual_seed(0)) for n in weight.shape)
    edit = {EDITED: weight + 0.3 * weight.norm() * torch.outer(left, right) / (left.norm() * right.norm())}
    with VLLMEngine(default_model_folder, max_model_len=256, kv_cache_gib=0.25) as engine:
        said = answers(engine, edit)
    with TransformersEngine(default_model_folder, max_model_len=256) as engine:
        assert answers(engine, edit) == said
    assert said["generation", True] != said["generation", False]
    assert all(len({tuple(ids) for ids in each}) > 10 for each in said.values())
