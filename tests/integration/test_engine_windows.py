"""Attention that is more than plain: Gemma 2's cap on scores, windows shorter than the prompt, layers of two kinds.

The edited model, both engines, and transformers' own eager attention say the same, token for token in float32, before
an exchange of weights, after it, and after the base is put back.
"""

from __future__ import annotations

from pathlib import Path

import asking
import pytest
import torch
import transformers

from rect import EditableModel
from tasks.engines.base import Engine
from tasks.engines.transformers_engine import TransformersEngine
from tasks.engines.vllm_engine import VLLMEngine
from tests.tiny import SENTENCES, save_tiny

pytestmark = pytest.mark.vllm

PROMPTS = [*SENTENCES, *(f"{a} {b}" for a, b in zip(SENTENCES, reversed(SENTENCES), strict=True)), "True"]
NEW = 6
OTHER_WINDOW = {"mistral": {"sliding_window": 16}}  # tiny models of the others have such windows anyway


def said(engine: Engine) -> list[float]:
    """Log-probabilities of an answer after each prompt: these models repeat themselves, so that tokens tell little."""
    return asking.logprobs(engine, [(prompt, " Rome, not Paris") for prompt in PROMPTS])


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "mistral"])
def test_model_and_engines_agree(family: str, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path, **OTHER_WINDOW.get(family, {}))
    with VLLMEngine(folder, max_model_len=256, kv_cache_gib=0.25, wait=False) as vllm:
        model = EditableModel.load(str(folder))
        eager = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32
        )
        longest = max(PROMPTS, key=len)
        ids = torch.tensor([model.tokenizer(longest)["input_ids"]])
        assert ids.shape[1] > 2 * 16
        with torch.no_grad():
            torch.testing.assert_close(model.hf(ids).logits, eager(ids).logits, rtol=1e-4, atol=1e-4)
        generator = torch.Generator().manual_seed(0)
        names = [model.mlp_out_name(layer) for layer in range(model.n_layers)]
        changed = {name: torch.randn(model.weight(name).shape, generator=generator) for name in names}
        with TransformersEngine(folder, max_model_len=256) as other:
            base = other.generate(PROMPTS, NEW)
            first = said(vllm)
            assert first == pytest.approx(said(other), rel=1e-3)
            assert vllm.generate(PROMPTS, NEW) == base
            assert [model.complete(prompt, NEW) for prompt in PROMPTS] == base
            for engine in (vllm, other):
                engine.load(changed)
            edited = other.generate(PROMPTS, NEW)
            assert vllm.generate(PROMPTS, NEW) == edited
            second = said(vllm)
            assert second == pytest.approx(said(other), rel=1e-3)
            assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 0.1
            for engine in (vllm, other):
                engine.restore()
            assert vllm.generate(PROMPTS, NEW) == other.generate(PROMPTS, NEW) == base
