"""The engine on CUDA devices: CUDA graphs on, bfloat16, memory share, tensor parallelism."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from tasks.engines.vllm_engine import VLLMEngine
from tests.tiny import SENTENCES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.vllm,
    pytest.mark.model,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

NAMES = ("model.layers.12.mlp.down_proj.weight", "model.layers.12.mlp.up_proj.weight")


@pytest.mark.parametrize("devices", [1, 2])
def test_exchanged_weights_equal_a_fresh_engine(default_model_folder: Path, tmp_path: Path, devices: int) -> None:
    """In bfloat16 the swapped engine is compared with a fresh one: transformers may break ties in another way."""
    if torch.cuda.device_count() < devices:
        pytest.skip(f"needs {devices} CUDA devices")
    model = transformers.AutoModelForCausalLM.from_pretrained(default_model_folder, dtype=torch.float32)
    edit = {name: model.get_parameter(name).data * 1.5 for name in NAMES}
    for name, tensor in edit.items():
        model.get_parameter(name).data.copy_(tensor)
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(default_model_folder).save_pretrained(tmp_path)
    del model

    def engine(folder: Path) -> VLLMEngine:
        return VLLMEngine(
            folder, dtype="bfloat16", max_model_len=512, gpu_memory_utilization=0.3, tensor_parallel_size=devices
        )

    prompts = [f"{a} {b}" for a in SENTENCES for b in SENTENCES]
    with engine(tmp_path) as fresh:
        expected = fresh.generate(prompts, 12)
    with engine(default_model_folder) as swapped:
        before = swapped.generate(prompts, 12)
        swapped.load({name: tensor.cuda() for name, tensor in edit.items()})
        assert swapped.generate(prompts, 12) == expected != before
        swapped.restore()
        assert swapped.generate(prompts, 12) == before
