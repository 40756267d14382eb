"""What a model and an engine took of a device is given back when they are closed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rect.model import EditableModel
from tasks.engines.transformers_engine import TransformersEngine

pytestmark = [pytest.mark.gpu, pytest.mark.model]

MIB = 2**20


def taken() -> float:
    """MiB of the first device that are not free, for any process."""
    gc.collect()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return (total - free) / MIB


@pytest.mark.parametrize("what", ["model", "transformers", "vllm"])
def test_it_comes_back(what: str, default_model_folder: Path, cuda: str, record_property: Callable[..., Any]) -> None:
    torch.zeros(1, device=cuda)  # the context stays
    before = taken()
    if what == "model":
        held: Any = EditableModel.load(str(default_model_folder), cuda)
    elif what == "transformers":
        held = TransformersEngine(default_model_folder, device=cuda)
    else:
        pytest.importorskip("vllm")
        from tasks.engines.vllm_engine import VLLMEngine

        held = VLLMEngine(default_model_folder, gpu_memory_utilization=0.3, max_model_len=512)
        held.generate(["The capital of France is"], 4)
    during = taken()
    if what != "model":
        held.close()
    del held
    record_property("MiB taken", round(during - before))
    record_property("MiB left over", round(taken() - before))
    assert during - before > 200
    assert taken() - before < 32
