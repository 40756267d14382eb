"""Engines on a CUDA device answer token for token as on the CPU in float32, before, during and after an exchange."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tasks.engines.transformers_engine import TransformersEngine
from tests.tiny import SENTENCES, save_tiny

NAME = "model.layers.12.mlp.down_proj.weight"
PROMPTS = [f"{a} {b} The answer is" for a in SENTENCES for b in SENTENCES][:40]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_transformers_token_for_token(family: str, device: str, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path / family)
    answers = []
    for where in (device, "cpu"):
        with TransformersEngine(folder, max_model_len=128, device=where) as engine:
            answers.append(engine.generate(PROMPTS, 8))
    assert answers[0] == answers[1]


@pytest.mark.gpu
@pytest.mark.model
@pytest.mark.vllm
def test_vllm_token_for_token_across_an_exchange(default_model_folder: Path, cuda: str) -> None:
    """The prompts are longer than a block of the prefix cache: what it keeps of other weights would show."""
    engines = pytest.importorskip("tasks.engines.vllm_engine")
    pytest.importorskip("vllm")
    weight = load_file(default_model_folder / "model.safetensors")[NAME].float()
    edit = {NAME: (1.5 * weight).to(cuda)}
    limits = {"dtype": "float32", "max_model_len": 512}
    with TransformersEngine(default_model_folder, device="cpu", max_model_len=512) as plain:
        before = plain.generate(PROMPTS, 12)
        plain.load({NAME: edit[NAME].cpu()})
        changed = plain.generate(PROMPTS, 12)
    assert before != changed
    with engines.VLLMEngine(default_model_folder, gpu_memory_utilization=0.3, **limits) as engine:
        assert engine.generate(PROMPTS, 12) == before
        engine.load(edit)
        assert engine.generate(PROMPTS, 12) == changed
        engine.restore()
        assert engine.generate(PROMPTS, 12) == before
    assert torch.equal(edit[NAME].cpu(), 1.5 * weight)
