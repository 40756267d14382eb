"""vLLM in a process of its own, seen from the caller. Nothing here imports vllm."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError
from tasks.engines.base import Engine, EngineError
from tasks.engines.likelihood import Likelihood
from tasks.engines.process import PACKAGE, EngineProcess

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine core in our child itself, not in a child of it
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",  # a folder is all it needs
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # by the one token that is not read (see the child's options)
}
DEFAULTS = {  # where the user has said nothing
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # as many threads as OMP_NUM_THREADS says (Ray sets it), else all cores
    "GLOO_SOCKET_IFNAME": "lo",
}


class VLLMEngine(Engine):
    """vLLM as an engine that stays warm while its weights change.

    It runs in a child process: its memory comes back when it is closed, and it dies with this process. On a GPU start
    it before loading a model there: vLLM measures free memory at its start.

    Args:
        folder, dtype, max_model_len, trust_remote_code: as in Engine.
        kv_cache_gib: key-value cache on a CPU, GiB.
        gpu_memory_utilization: share of each GPU's memory for weights, activations and cache. The rest is for the model
            that is being edited.
        tensor_parallel_size: GPUs over which the weights are split.
        seed: vLLM's.
        wait: return only when it can generate; with False the first use waits, and other work goes on meanwhile.
        start_timeout: seconds after which a start counts as failed.

    Raises:
        EngineError: it could not start.
    """

    name = "vllm"

    def __init__(
        self,
        folder: str | Path,
        *,
        kv_cache_gib: float = 1.0,
        gpu_memory_utilization: float = 0.5,
        tensor_parallel_size: int = 1,
        seed: int = 0,
        wait: bool = True,
        start_timeout: float = 1800.0,
        **common: Any,
    ) -> None:
        super().__init__(folder, **common)
        if kv_cache_gib <= 0:
            raise InputError(f"kv_cache_gib must be above 0, not {kv_cache_gib}")
        if not 0 < gpu_memory_utilization <= 1:
            raise InputError(f"gpu_memory_utilization must be above 0 and at most 1, not {gpu_memory_utilization}")
        self._options = {
            "package": str(PACKAGE),
            "folder": str(self.folder.resolve()),
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "kv_cache_gib": kv_cache_gib,
            "cpu_block_size": 32,  # tokens; the granularity at which prefixes are shared
            "gpu_memory_utilization": gpu_memory_utilization,
            "tensor_parallel_size": tensor_parallel_size,
            "seed": seed,
            "trust_remote_code": self.trust_remote_code,
        }
        self._start_timeout = start_timeout
        self._process: EngineProcess | None = None
        self._ready = False
        self.start(wait=wait)

    @property
    def pid(self) -> int | None:
        """Process id of the child, None when there is none."""
        return self._process.pid if self._process is not None and self._process.alive else None

    def start(self, *, wait: bool = True) -> None:
        """Start the child with the base weights; again if it has died or was closed. Harmless while it runs."""
        if self.pid is None:
            self.close()
            environment = {**DEFAULTS, **os.environ, **ENVIRONMENT}
            environment.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would override kv_cache_gib
            temporary = None
            if self._options["tensor_parallel_size"] != 1:  # its workers meet at sockets in the temporary folder
                temporary = tempfile.mkdtemp(prefix="vllm-engine-")
                environment |= {"TMPDIR": temporary, "VLLM_RPC_BASE_PATH": temporary}
            self._process = EngineProcess("tasks.engines.vllm_child", environment, temporary)
            self._started = time.monotonic()
            self._process.channel.send(self._options)
            self._ready = False
            self._dirty = frozenset()
            self.weight_version += 1
        if wait:
            self._running()

    def close(self) -> None:
        """End the child; its memory comes back. `start` brings another one."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _generate(self, prompts: list[list[int]], budgets: list[int]) -> list[list[int]]:
        message = {"do": "generate", "prompts": prompts, "budgets": budgets, "end": sorted(self.texts.end)}
        outputs: list[list[int]] = self._running().ask(message)["outputs"]
        return outputs

    def _likelihoods(self, rows: list[tuple[list[int], list[int]]]) -> list[Likelihood]:
        message = {
            "do": "score",
            "rows": [prompt + tail for prompt, tail in rows],
            "tails": [len(tail) for _, tail in rows],
        }
        return [Likelihood(logprob, greedy) for logprob, greedy in self._running().ask(message)["scores"]]

    def _write(self, tensors: Mapping[str, Tensor], back_to_base: frozenset[str]) -> None:
        """Send whole modules: the changed tensors, and the base of their fused and bias companions."""
        import torch

        kind = getattr(torch, self.dtype)
        changed = {self.checkpoint.saved_name(name): tensor for name, tensor in tensors.items()}
        send = {
            name: changed.get(name, self.checkpoint.tensor(name)).detach().to("cpu", kind).contiguous()
            for name in self.checkpoint.with_companions([*tensors, *back_to_base])
        }
        with memory_file(send) as path:
            lacking = self._running().ask({"do": "load", "path": path})["not_loaded"]
        if lacking:
            raise EngineError(f"vLLM did not take {len(lacking)} of {len(send)} changed tensors, such as {lacking[0]}")

    def _running(self) -> EngineProcess:
        """The child, once it can work."""
        if self._process is None:
            raise EngineError("the engine is closed: start() starts it again")
        if not self._ready:
            for note in self._process.answer(self._start_timeout)["notes"]:
                log.warning("%s", note)
            self._ready = True
            log.info("vLLM engine started in %.0f s (process %d)", time.monotonic() - self._started, self._process.pid)
        return self._process


@contextmanager
def memory_file(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Path of the tensors as a safetensors file, for processes of this user on this machine, while the context lasts.

    The file is anonymous memory (memfd_create) reached through /proc: the kernel frees it when its last user ends, in
    whatever way. Who has mapped it keeps a valid map when the context ends. Where the system has no memfd (macOS) it is
    a temporary file, removed at the end of the context.
    """
    from safetensors.torch import save

    content = save(dict(tensors))
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as named:
            named.write(content)
            named.flush()
            yield named.name
        return
    descriptor = os.memfd_create("changed-tensors", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        del content
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)
