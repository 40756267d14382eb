"""EasyEdit at work, in an environment of its own: `python -I worker.py`. Imports nothing of this project.

Messages are lines of JSON on stdin and stdout, tensors safetensors files in a folder that the first message names. The
model is loaded once. Each edit runs in a process forked for it, which dies with all that the library keeps in its
modules (context templates, covariances, patched layers): the next edit finds the model and the library untouched.
`rect.editors.easyeditor.process` is the other side.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# What EasyEdit tells families by: parts of the model's name.
NAMES = {"gpt2": "gpt2-xl", "gptj": "gpt-j-6b", **dict.fromkeys(("llama", "mistral", "qwen2", "gemma"), "llama")}
# no keys of every method of EasyEdit
OURS = ("seed", "context_template_length_params", "rewrite_module_tmp", "nullspace_share")
# As EasyEdit's editor has it, but for MEMIT-FE and PMET: it pads these on the left, and they count from there.
RIGHT_PADDED = ("AlphaEdit", "CORE", "EAMET", "EMMET", "MEMIT", "MEMIT-FE", "PMET", "R-ROME", "ROME", "SPHERE")
UNGROUPED = ("rome.rome_main", "r_rome.r_rome_main")  # modules whose context templates are one list, not one of lists
# What only newer source asks for. (Its AdaLoRA is refused by newer peft.)
ASKED = {"objective_optimization": "prompt_last", "lora_type": "lora"}


class Refused(Exception):
    """Something that the user can do something about; the text is one line."""


def main() -> None:
    """Serve requests until the other side is gone."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the library prints goes to the log
    start = json.loads(sys.stdin.buffer.readline() or "{}")
    if not start:
        return
    try:
        bench = Bench(start)
        answers.write(json.dumps(bench.about()) + "\n")
        while line := sys.stdin.buffer.readline():
            answers.write(json.dumps(apart(bench, json.loads(line))) + "\n")
    except Exception as error:
        answers.write(json.dumps(told(error)) + "\n")
    finally:
        shutil.rmtree(start["folder"], ignore_errors=True)


def told(error: BaseException) -> dict[str, str]:
    """An error as an answer: one line, and the traceback."""
    if isinstance(error, Refused):
        return {"refused": str(error)}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "easyeditor" in f.filename.split(os.sep)[:-1]]
    inside = [f for f in frames if Path(f.filename) != Path(__file__)]
    where = f" ({Path(inside[-1].filename).name}:{inside[-1].lineno})" if inside else ""
    text = " ".join(str(error).split()) or "no message"
    return {"error": f"{type(error).__name__}: {text[:300]}{where}", "trace": traceback.format_exc()}


def apart(bench: Bench, request: dict[str, Any]) -> dict[str, Any]:
    """Do one request in a forked process. Ends with it when the other side goes away."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(readable)
        try:
            answer = bench.edit(request)
        except BaseException as error:
            traceback.print_exc()
            answer = told(error)
        sys.stdout.flush()
        with os.fdopen(writable, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writable)
    received = b""
    with os.fdopen(readable, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe, sys.stdin.fileno()], [], [])
            if pipe not in ready:  # nothing is asked while an edit runs: stdin has ended
                os.kill(pid, signal.SIGKILL)
            part = pipe.read(1 << 16)
            if not part:
                break
            received += part
    _, status = os.waitpid(pid, 0)
    if received:
        return dict(json.loads(received))
    how = f"was killed by signal {-code}" if (code := os.waitstatus_to_exitcode(status)) < 0 else f"ended with {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return {"error": f"its process {how}{hint}", "trace": ""}


class Bench:
    """The library, the base model and its tokenizer.

    Args:
        start: `folder` for files, where `tokenizer.json` lies; `model`; `weights`: the names of its files that hold
            some; `special`: tokens of the tokenizer, by role; `attention`: which implementation, None for the usual
            one; `dtype`, `device`, `threads`; `source`: a checkout to take in place of the installed library, or None.
    """

    def __init__(self, start: dict[str, Any]) -> None:
        import torch
        import transformers

        torch.set_num_threads(1)  # no pool of threads may exist when a process is forked
        self.start, self.folder = start, Path(start["folder"])
        self.device = start["device"]
        if start["source"]:
            sys.path.insert(0, start["source"])
        try:
            self.library = importlib.import_module("easyeditor")
        except Exception as error:
            place = start["source"] or "the environment"
            raise Refused(f"EasyEdit cannot be imported from {place} ({type(error).__name__}: {error})") from error
        given = Path(start["model"])
        kind = json.loads((given / "config.json").read_text())["model_type"]
        self.name = NAMES.get(kind, kind)
        own = adapted(given, self.folder / self.name, start["weights"])
        if kind not in transformers.CONFIG_MAPPING:
            known = f"transformers {transformers.__version__} of EasyEdit's environment"
            raise Refused(f"{given.name}: the model type {kind!r} is unknown to {known}; its methods cannot edit it")
        dtype = getattr(torch, start["dtype"])
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            own, torch_dtype=dtype, use_safetensors=True, attn_implementation=start["attention"]
        )
        self.model.eval()
        self.tokenizer = tokenizer(self.folder / "tokenizer.json", start["special"])

    def about(self) -> dict[str, Any]:
        """The answer to the first message."""
        return {"library": str(self.library.__file__), "methods": sorted(self.methods())}

    def methods(self) -> dict[str, Any]:
        """EasyEdit's table of methods."""
        return importlib.import_module("easyeditor.util.alg_dict").ALG_DICT

    def edit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make one edit and write `edited.safetensors`, the tensors that it changed.

        Args:
            request: `method`, `hparams`, `facts` (EasyEdit's requests), `templates` or None, `remembers`, `seed`,
                `probe`; beside it in the folder `weights.safetensors`, the tensors that differ from the base model, and
                where they are used `covariance.safetensors`, by module; `projection.safetensors`, by weight;
                `history.safetensors`, keys (facts, in) by number of the operation and weight ("0/model...").
        """
        import numpy
        import safetensors.torch
        import torch

        torch.set_num_threads(self.start["threads"])
        method, model = request["method"], self.model
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in self.handed("weights").items():
                parameters[name].copy_(tensor)
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        self.tokenizer.padding_side = "right" if method in RIGHT_PADDED else "left"
        on_cpu = self.device == "cpu"
        if not on_cpu:
            model.to(self.device)
            torch.cuda.reset_peak_memory_stats()
        random.seed(request["seed"])
        numpy.random.seed(request["seed"])
        torch.manual_seed(request["seed"])
        with meaning(self.device):
            self.check_probe(request["probe"])
            hparams = self.hparams(method, request["hparams"])
            apply, keys = self.apply(method), {}
            self.hand_over(request["templates"])
            if request["remembers"]:
                keys = self.remember(sys.modules[apply.__module__], hparams)
            held, began = self.memory(), time.perf_counter()
            edited, *_ = apply(model, self.tokenizer, request["facts"], hparams, copy=False, return_orig_weights=True)
            if not on_cpu:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - began
            peak = self.memory() - held
            if hasattr(edited, "merge_and_unload"):  # adapters beside the weights
                edited.merge_and_unload()
        after = {name: parameter.detach().cpu() for name, parameter in parameters.items()}
        changed = {name: tensor.contiguous() for name, tensor in after.items() if not torch.equal(tensor, before[name])}
        safetensors.torch.save_file(changed, self.folder / "edited.safetensors")
        safetensors.torch.save_file(keys, self.folder / "keys.safetensors")
        return {"seconds": seconds, "peak": peak}

    def memory(self) -> int:
        """The most that this process has held so far, in bytes: on the GPU, or of the machine's memory."""
        import torch

        if self.device != "cpu":
            return torch.cuda.max_memory_allocated()
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def apply(self, method: str) -> Any:
        """The function that applies a method."""
        methods = self.methods()
        if method not in methods:
            raise Refused(f"easyeditor:{method} is not in this EasyEdit, which has {', '.join(sorted(methods))}")
        found = methods[method]
        return found[1] if isinstance(found, tuple) else found

    def hparams(self, method: str, values: dict[str, Any]) -> Any:
        """EasyEdit's record of hyperparameters."""
        wanted = method.replace("-", "").lower() + "hyperparams"
        modules = [module for name, module in sys.modules.items() if name.startswith("easyeditor.models")]
        named = {name.replace("_", "").lower(): found for module in modules for name, found in vars(module).items()}
        cls = named.get(wanted)
        if cls is None:
            raise Refused(f"easyeditor:{method}: this EasyEdit has no class of its hyperparameters")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = {**values, "alg_name": method, "model_name": self.name, "model_parallel": False}
        values["device"] = int(self.device.partition(":")[2] or 0)
        if unknown := set(values) - set(fields) - set(OURS) - set(TEMPLATES):
            raise Refused(f"hparams of easyeditor:{method}: EasyEdit has no key {min(unknown)!r}")
        given = {key: value for key, value in values.items() if key in fields}
        given |= {key: value for key, value in ASKED.items() if key in fields and key not in given}
        bare = (dataclasses.MISSING, dataclasses.MISSING)
        needed = [n for n, f in fields.items() if (f.default, f.default_factory) == bare and n not in given]
        if needed:
            raise Refused(f"hparams of easyeditor:{method}: the key {needed[0]!r} is missing; EasyEdit's file has it")
        return cls(**given)

    def handed(self, what: str) -> dict[str, Any]:
        """Tensors by name that came with the request, none where no such file did."""
        import safetensors.torch

        file = self.folder / f"{what}.safetensors"
        return safetensors.torch.load_file(file) if file.is_file() else {}

    def hand_over(self, templates: list[str] | None) -> None:
        """Put context templates and covariances where EasyEdit keeps those that it made itself."""
        import torch

        begin, model = "easyeditor.models.", self.model.config._name_or_path.replace("/", "_")
        loaded: dict[str, Any] = {n.removeprefix(begin): m for n, m in sys.modules.items() if n.startswith(begin)}
        groups = [group for group in (templates[:1], templates[1:]) if group] if templates else []
        for name, module in loaded.items():
            if templates is not None and hasattr(module, "CONTEXT_TEMPLATES_CACHE"):
                module.CONTEXT_TEMPLATES_CACHE = list(templates) if name in UNGROUPED else groups
        for name, matrix in self.handed("covariance").items():
            inverse = torch.inverse(matrix).float().to(self.device)
            for module in loaded.values():
                for cache, what in (("COV_CACHE", matrix.float()), ("inv_mom2_cache", inverse)):
                    if hasattr(module, cache):
                        getattr(module, cache)[model, name] = what

    def remember(self, module: Any, hparams: Any) -> dict[str, Any]:
        """Give AlphaEdit or its kin what it keeps between its calls: P, and `cache_c`, the sum of K K^T so far.

        Args:
            module: of the method, whose variables these are.

        Returns:
            Filled while the method runs: its keys (facts, in) by weight, those that it adds to `cache_c` at its end.
        """
        import torch

        names = {layer: f"{hparams.rewrite_module_tmp.format(layer)}.weight" for layer in hparams.layers}
        projection, history = self.handed("projection"), self.handed("history")
        module.P = torch.stack([projection[name] for name in names.values()])
        hparams.P_loc, module.P_loaded = __file__, True  # some file that exists; it is not read
        module.cache_c, module.cache_c_new = torch.zeros_like(module.P), True
        for i, name in enumerate(names.values()):
            for operation in range(len(history) // len(names)):
                keys = history[f"{operation}/{name}"].T
                module.cache_c[i] += keys @ keys.T
        found: dict[str, Any] = {}
        compute = module.compute_ks

        def noted(model: Any, tok: Any, requests: Any, hparams: Any, layer: int, templates: Any) -> Any:
            keys = compute(model, tok, requests, hparams, layer, templates)
            found[names[layer]] = keys.detach().cpu().contiguous()
            return keys

        module.compute_ks = noted
        return found

    def check_probe(self, probe: dict[str, Any]) -> None:
        """Whether both environments see one model: the same tokens, and the same logits after them."""
        import torch

        inputs = self.tokenizer([probe["text"]], padding=True, return_tensors="pt").to(self.device)  # as EasyEdit does
        if inputs["input_ids"][0].tolist() != probe["ids"]:
            raise Refused("EasyEdit's environment reads this model's tokenizer differently; its methods cannot edit it")
        with torch.no_grad():
            found = self.model(**inputs).logits[0, -1].float().cpu()
        expected = torch.tensor(probe["logits"])
        apart = (found - expected).norm() / expected.norm()
        if not apart < probe["within"]:
            raise Refused(
                f"EasyEdit's environment reads this model differently (its logits are {apart:.1%} off); "
                f"its methods cannot edit it"
            )


TEMPLATES = (
    *("rewrite_module_tmp", "layer_module_tmp", "mlp_module_tmp", "attn_module_tmp", "ln_f_module", "lm_head_module"),
    *("stats_dir", "results_dir", "device", "model_parallel"),
)


def meaning(device: str) -> Any:
    """Within it "cuda:0", which EasyEdit has written all over, means the device that is wanted."""
    import torch
    from torch.overrides import TorchFunctionMode

    def right(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("cuda"):
            return device
        return torch.device(device) if isinstance(value, torch.device) and value.type == "cuda" else value

    class Mode(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.Tensor.cuda:
                return args[0].to(device)
            kwargs = {key: right(value) for key, value in (kwargs or {}).items()}
            return function(*(right(value) for value in args), **kwargs)

    return Mode()


def adapted(given: Path, to: Path, weights: list[str]) -> Path:
    """A folder beside the model's own, with links to its weights and a config that older transformers read."""
    to.mkdir()
    for name in (*weights, "model.safetensors.index.json"):
        if (given / name).is_file():
            (to / name).symlink_to((given / name).resolve())
    config = json.loads((given / "config.json").read_text())
    rope = config.pop("rope_parameters", None) or {}
    if any(isinstance(value, dict) for value in rope.values()):
        raise Refused(f"{given.name}: its layers have different position embeddings; EasyEdit's environment has one")
    if "rope_theta" in rope:
        config["rope_theta"] = config["rotary_emb_base"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = config["rotary_pct"] = rope.pop("partial_rotary_factor")
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = rope
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    (to / "config.json").write_text(json.dumps(config))
    return to


def tokenizer(file: Path, special: dict[str, str]) -> Any:
    """The model's tokenizer, whatever class newer transformers call it."""
    import transformers

    made = transformers.PreTrainedTokenizerFast(tokenizer_file=str(file), **special)
    made.model_input_names = ["input_ids", "attention_mask"]  # GPT-2 would add embeddings of token types
    made.pad_token = made.eos_token  # as EasyEdit's editor has it
    made.unk_token = made.unk_token or made.eos_token  # as in GPT-2's own class; FT compares with it
    return made


if __name__ == "__main__":
    main()
