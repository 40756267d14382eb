"""In bfloat16 a fact is learned, and vLLM's exchanged weights answer as an engine that was started with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from rect import editors
from rect.evaluation import evaluate
from rect.facts import Fact
from rect.model import EditableModel
from tests.tiny import SENTENCES

pytestmark = [pytest.mark.gpu, pytest.mark.model]

FACT = Fact(subject="The Eiffel Tower", prompt="{} is in the city of", target="Rome", original="Paris")
NAMES = ("model.layers.12.mlp.down_proj.weight", "model.layers.12.mlp.up_proj.weight")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_fact_is_learned(dtype: str, default_model_folder: Path, cuda: str) -> None:
    model = EditableModel.load(str(default_model_folder), cuda, dtype)
    update = editors.create("rome", model).compute(model, [FACT])
    assert evaluate(model, [FACT]).figures()["reliability/token_accuracy"].value < 1
    with model.edited(update):
        assert evaluate(model, [FACT]).figures()["reliability/token_accuracy"].value == 1


@pytest.mark.vllm
@pytest.mark.parametrize("devices", [1, 2])
def test_exchanged_weights_equal_a_fresh_engine(default_model_folder: Path, tmp_path: Path, devices: int) -> None:
    """One device, then an engine that is split over two. transformers may break ties of bfloat16 in another way."""
    if torch.cuda.device_count() < devices:
        pytest.skip(f"needs {devices} CUDA devices")
    pytest.importorskip("vllm")
    from tasks.engines.vllm_engine import VLLMEngine

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
