"""A random GPT-2 XL through `sweeps run`: seconds of an edit and a swap, and memory beside what the plan says.

    python benchmarks/paper_scale.py                 # ROME and MEMIT, none and RECT 40, vLLM, two tasks; some minutes
    python benchmarks/paper_scale.py --shape tiny    # the same way in seconds, to see that it goes

The model has GPT-2 XL's shape (48 blocks, 1,600) with the default model's tokenizer and weights drawn at random: what
it says is worth nothing, what it costs is what the real one costs. Weights are written once to --folder. Memory is
that of the trial's process and of the engine's: private bytes (USS), and their peak, looked at every half second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import torch
import transformers
import yaml

from rect import models
from sweeps.config import config as configuration
from sweeps.plan import memory
from sweeps.plan.identity import make_plan
from sweeps.store import journal
from sweeps.store.store import Store

GIB = 2**30
SHAPES = {"gpt2-xl": (48, 1600, 25), "tiny": (3, 64, 2)}


def build(folder: Path, shape: str) -> None:
    """Write the model, if it is not there."""
    if (folder / "config.json").is_file():
        return
    tokenizer = transformers.AutoTokenizer.from_pretrained(models.resolve(models.DEFAULT))
    layers, width, heads = SHAPES[shape]
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_layer=layers,
        n_embd=width,
        n_head=heads,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)


def configuration_of(folder: Path, shape: str, methods: list[str]) -> dict[str, object]:
    layers = {"gpt2-xl": ([17], [13, 14, 15, 16, 17]), "tiny": ([1], [0, 1])}[shape]
    hparams = {
        "rome": {"layers": layers[0], "v_num_grad_steps": 20, "mom2_adjustment": False},
        "memit": {"layers": layers[1], "v_num_grad_steps": 20, "mom2_adjustment": False},
    }
    return {
        "name": "paper-scale",
        "models": [{"name": str(folder), "label": shape}],
        "edits": {"source": "bundled"},
        "methods": [{"name": name, "hparams": hparams[name]} for name in methods],
        "settings": [{"kind": "batch-single", "batch_sizes": [1]}],
        "regularizers": ["none", {"name": "rect", "k": 40}],
        "tasks": {"names": ["nli", "sentiment"], "examples": 4},
        "engine": {"name": "vllm", "max_model_len": 1024, "kv_cache_gib": 1.0},
        "resources": {"concurrency": 1, "cpus": 2, "gpus": 0},
        "seed": 0,
    }


class Watch:
    """Peak private memory of the trial and of the engine, by what their command lines say."""

    def __init__(self, root: int) -> None:
        self.root, self.peak, self.stop = root, {"trial": 0, "engine": 0, "together": 0}, threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self.stop.wait(0.5):
            now = dict.fromkeys(("trial", "engine"), 0)
            try:
                for process in psutil.Process(self.root).children(recursive=True):
                    command = " ".join(process.cmdline())
                    kind = "engine" if "vllm" in command.lower() else "trial" if "Trainable" in command else None
                    if kind:
                        now[kind] += process.memory_full_info().uss
            except psutil.Error:
                continue
            for kind, size in {**now, "together": sum(now.values())}.items():
                self.peak[kind] = max(self.peak[kind], size)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="gpt2-xl")
    parser.add_argument("--folder", type=Path, help="where the model lies or is written; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="folder of the sweep; default: a temporary one")
    parser.add_argument("--methods", nargs="+", default=["rome", "memit"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = arguments.folder or place / arguments.shape
        build(folder, arguments.shape)
        file = place / "config.yaml"
        file.write_text(yaml.safe_dump(configuration_of(folder, arguments.shape, arguments.methods)))
        plan = make_plan(configuration.load(str(file)))
        print(*memory.told(plan), sep="\n", flush=True)
        [spec] = plan.config.models
        shape = memory.shapes(folder)
        each = [memory.held(shape, plan.config, spec, m, about) for (_, m), about in plan.editors.items()]
        began, out = time.perf_counter(), arguments.out or place / "out"
        command = [sys.executable, "-m", "sweeps", "run", str(file), "--out", str(out)]
        process = subprocess.Popen(command)
        with Watch(process.pid) as watch:
            code = process.wait()
        print(f"sweeps run: exit code {code}, {time.perf_counter() - began:.0f} s")
        store = Store(out)
        for event in journal.events(store.folder):
            if event["event"] in ("edit-computed", "engine-started"):
                what = {key: event[key] for key in ("event", "operation", "seconds") if key in event}
                print(json.dumps(what))
        rows = store.rows()
        swaps = rows[rows["name"] == "swapping_seconds"]["value"]
        print(f"swaps: {', '.join(f'{value:.2f}' for value in swaps)} s")
        trial = max(one.trial for one in each)
        engine = each[0].engine + each[0].cache + memory.ENGINE
        print("\n| | planned, GiB | measured, GiB | measured / planned |\n|---|---|---|---|")
        planned = {"trial": trial, "engine": engine, "together": trial + engine}
        for kind, size in planned.items():
            print(f"| {kind} | {size / GIB:.2f} | {watch.peak[kind] / GIB:.2f} | {watch.peak[kind] / size:.2f} |")


if __name__ == "__main__":
    main()
