"""The process in which vLLM runs. All that depends on vLLM's version is in this file (written for 0.32).

Started by tasks.engines.vllm_engine as `python -m tasks.engines.vllm_child PARENT_PID PIPE [TEMPORARY]`. The first
message holds the options, each further one a request; every message is answered once.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tasks.engines.channel import Channel
from tasks.engines.parent import end_with

Answer = dict[str, Any]

MODULE = "tasks.engines.vllm_child"
NOT_ON_CPU = {"GPTNeoXForCausalLM"}  # 0.32: "GPTNeoXModel object has no attribute do_not_compile"


FUSED = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj"}
FUSED |= {"gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}


class ChangedTensors:
    """Mixed into vLLM's worker class: every worker, in whatever process, reads the changed tensors itself."""

    def read_changed_tensors(self, path: str) -> list[str]:
        """Replace weights by the tensors of a safetensors file (checkpoint names and orientation).

        Returns:
            Names of tensors that vLLM does not report as loaded: it passes over what it does not know without a word.
        """
        from safetensors import safe_open

        model: Any = self.model_runner.get_model()  # type: ignore[attr-defined]
        load = model.load_weights
        loaded: set[str] = set()

        def reporting(weights: Any) -> Any:
            found = load(weights)
            loaded.update(found or ())
            return found

        model.load_weights = reporting  # `reload_weights` keeps the report to itself
        try:
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                self.reload_weights(weights_iterator=((name, file.get_tensor(name)) for name in names))  # type: ignore[attr-defined]
        finally:
            del model.load_weights
        return not_loaded(names, loaded)


def not_loaded(names: Iterable[str], reported: Iterable[str]) -> list[str]:
    """Those checkpoint names that are not among vLLM's parameters, which may have another prefix and may be fused.

    >>> not_loaded(["h.1.mlp.up_proj.weight", "h.1.extra"], ["model.h.1.mlp.gate_up_proj.weight"])
    ['h.1.extra']
    """
    there = {_inside(name) for name in reported}
    return [name for name in names if _inside(name) not in there]


def _inside(name: str) -> tuple[str, ...]:
    """A parameter's name from its layer's number on, or else its last module's, by the names of fused modules."""
    parts = [FUSED.get(part, part) for part in name.split(".")]
    number = next((i for i, part in enumerate(parts) if part.isdecimal()), len(parts) - 2)
    return tuple(parts[max(number, 0) :])


class Server:
    """A vLLM engine behind messages.

    Args:
        options: as in tasks.engines.vllm_engine.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        from vllm import LLM, platforms

        self.notes: list[str] = []
        on_cpu = platforms.current_platform.is_cpu()
        implementation = "auto"  # whose code of the model runs inside vLLM
        architectures = json.loads((Path(options["folder"]) / "config.json").read_text()).get("architectures") or []
        if on_cpu and NOT_ON_CPU.intersection(architectures):
            implementation = "transformers"
            self.notes.append(f"vLLM has no {architectures[0]} for CPUs: it runs transformers' code of it")
        one_process = options["tensor_parallel_size"] == 1
        if one_process:
            _rendezvous_in_memory()
        if on_cpu and one_process:
            _inspect_model_classes_here([*architectures, "TransformersForCausalLM"])
        memory: dict[str, Any] = {"gpu_memory_utilization": options["gpu_memory_utilization"]}
        if on_cpu:  # eager: torch.compile costs minutes there and gains nothing for short runs
            memory = {"kv_cache_memory_bytes": int(options["kv_cache_gib"] * 2**30), "enforce_eager": True}
            memory["block_size"] = options["cpu_block_size"]
        self._llm = LLM(
            model=options["folder"],
            dtype=options["dtype"],
            max_model_len=options["max_model_len"] + 1,  # it wants room for a token that is generated and not read
            tensor_parallel_size=options["tensor_parallel_size"],
            seed=options["seed"],
            trust_remote_code=options["trust_remote_code"],
            model_impl=implementation,
            skip_tokenizer_init=True,  # token ids in, token ids out
            config_format="hf",  # a folder may hold the model in another layout too
            load_format="safetensors",
            generation_config="vllm",  # end tokens come with each request
            enable_prefix_caching=True,
            worker_extension_cls=f"{ChangedTensors.__module__}.{ChangedTensors.__name__}".replace("__main__", MODULE),
            **memory,
        )
        logging.getLogger("vllm").setLevel(logging.ERROR)  # each reload names all layers that it leaves alone

    def generate(self, prompts: list[list[int]], budgets: list[int], end: list[int]) -> Answer:
        """Greedy token ids of each prompt."""
        from vllm import SamplingParams

        parameters = [
            SamplingParams(temperature=0.0, max_tokens=budget, stop_token_ids=end, detokenize=False)
            for budget in budgets
        ]
        requests: Any = [{"prompt_token_ids": ids} for ids in prompts]
        results = self._llm.generate(requests, parameters, use_tqdm=False)
        return {"outputs": [list(result.outputs[0].token_ids) for result in results]}

    def score(self, rows: list[list[int]], tails: list[int]) -> Answer:
        """Summed log-probability of the last `tails` ids of each row, and whether each of them was the likeliest.

        The very last id is not read but generated, as the only one allowed: its log-probability is that of before.
        """
        from vllm import SamplingParams

        # prompt_logprobs=0: of the row's own tokens alone; such requests are not answered from the prefix cache
        parameters = [
            SamplingParams(
                temperature=0.0,
                max_tokens=1,
                logprobs=0,
                allowed_token_ids=ids[-1:],
                prompt_logprobs=0 if tail > 1 else None,
                detokenize=False,
            )
            for ids, tail in zip(rows, tails, strict=True)
        ]
        requests: Any = [{"prompt_token_ids": ids[:-1]} for ids in rows]
        results: list[Any] = self._llm.generate(requests, parameters, use_tqdm=False)
        scores = []
        for ids, tail, result in zip(rows, tails, results, strict=True):
            read = result.prompt_logprobs[len(ids) - tail :] if tail > 1 else []
            own = [at[token] for at, token in zip([*read, result.outputs[0].logprobs[0]], ids[-tail:], strict=True)]
            scores.append((sum(one.logprob for one in own), all(one.rank == 1 for one in own)))
        return {"scores": scores}

    @property
    def unfinished(self) -> bool:
        """Whether a request that failed has left texts behind, which vLLM would give out among those of the next."""
        return bool(self._llm.llm_engine.has_unfinished_requests())

    def load(self, path: str) -> Answer:
        """Exchange weights for those of a file, and forget all cached prefixes: they are of the old weights."""
        lacking = self._llm.collective_rpc("read_changed_tensors", args=(path,))
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache: outputs would mix old and new weights")
        return {"not_loaded": sorted({name for of_worker in lacking for name in of_worker})}


def _rendezvous_in_memory() -> None:
    """Keep torch.distributed's rendezvous of the one worker in anonymous memory.

    vLLM puts a file `vllm_dist_*` into the temporary folder for it, which a killed process leaves behind.
    """
    from vllm.v1.executor import uniproc_executor

    descriptor = os.memfd_create("rendezvous")
    uniproc_executor.get_file_store_init_method = lambda: f"file:///proc/self/fd/{descriptor}"


def _inspect_model_classes_here(architectures: list[str]) -> None:
    """Register these model classes as loaded.

    vLLM looks at a class in a further process first, so as not to touch CUDA before a fork: on a CPU that is a second
    import of everything, half a minute the first time that a model type is used on a machine.
    """
    from vllm import ModelRegistry
    from vllm.model_executor.models.registry import _LazyRegisteredModel

    for architecture in architectures:
        entry = ModelRegistry.models.get(architecture)
        if isinstance(entry, _LazyRegisteredModel):
            ModelRegistry.register_model(architecture, entry.load_model_cls())


def serve(channel: Channel, options: dict[str, Any]) -> None:
    """Start the engine, then answer requests until the other side closes, or the engine is left in a state unknown."""
    package = Path(__file__).resolve().parent.parent
    if str(package) != options["package"]:
        raise ImportError(f"a stranger module shadows `tasks`: {package} was found instead of {options['package']}")
    server = Server(options)
    requests: dict[str, Callable[..., Answer]] = {
        "generate": server.generate,
        "score": server.score,
        "load": server.load,
    }
    channel.send({"notes": server.notes})
    while (message := channel.receive()) is not None:
        try:
            channel.send(requests[message.pop("do")](**message))
        except Exception as error:
            traceback.print_exc()
            channel.send({"error": f"vLLM refused: {type(error).__name__}: {error}"})
            if server.unfinished:
                return


def main(arguments: list[str]) -> int:
    """Exit code 1 if the engine did not start."""
    end_with(int(arguments[0]), *arguments[2:])
    channel = Channel(Connection(int(arguments[1])))
    options = channel.receive()
    if options is None:
        return 0
    try:
        serve(channel, options)
    except Exception as error:
        traceback.print_exc()
        channel.send({"error": f"the vLLM engine did not start: {type(error).__name__}: {error}"})
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: vLLM's own ending takes seconds and has nothing to save
