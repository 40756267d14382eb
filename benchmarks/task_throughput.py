"""Prompts a second through the eight tasks: as the release generates, batched, and with this project's engines.

    .venv/bin/python benchmarks/task_throughput.py [--source bundled] [--examples 8] [--padded 1] [--rounds 2]

The same prompts, token budgets and greedy decoding for all:
  padded        one prompt at a time, padded to 1,024 tokens on the left, through transformers' generate: the release
  batched       transformers' generate, 16 prompts of a task at a time, padded to the longest: the usual improvement
  transformers  tasks.engines.TransformersEngine, one call for all tasks
  vllm          tasks.engines.VLLMEngine, one call for all tasks (its start is told apart: a sweep pays it once)
The padded way is measured on a few examples of each task (--padded), the others on all. The ways take turns, on other
examples in each round.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PADDED = 1024  # tokens, prompt and budget
BATCH = 16


@dataclass(frozen=True)
class Question:
    """A prompt of a task with its token budget."""

    task: str
    prompt: str
    budget: int


def questions(source: str, per_task: int, seed: int) -> list[Question]:
    """Prompts of all tasks; ner has four for each example."""
    from tasks.registry import TASKS

    return [
        Question(name, task.prompt(example), task.max_new_tokens)
        for name, task in TASKS.items()
        for example in task.examples(source, limit=per_task, seed=seed)
    ]


class Generate:
    """transformers' own generate, in the two usual ways."""

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.tokenizer.truncation_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.to(device).eval()

    def padded(self, asked: Sequence[Question]) -> list[str]:
        """One at a time, each padded to the full context."""
        return [
            self._generate([one.prompt], one.budget, padding="max_length", max_length=PADDED - one.budget)[0]
            for one in asked
        ]

    def batched(self, asked: Sequence[Question]) -> list[str]:
        """Batches of one task, in the order of the examples."""
        outputs: list[str] = []
        while len(outputs) < len(asked):
            first = asked[len(outputs)]
            batch = [one for one in asked[len(outputs) : len(outputs) + BATCH] if one.task == first.task]
            outputs += self._generate([one.prompt for one in batch], first.budget, padding="longest", max_length=PADDED)
        return outputs

    def _generate(self, prompts: list[str], budget: int, **padding: Any) -> list[str]:
        inputs = self.tokenizer(prompts, return_tensors="pt", truncation=True, **padding).to(self.model.device)
        ids = self.model.generate(
            **inputs, max_new_tokens=budget, do_sample=False, pad_token_id=self.tokenizer.pad_token_id
        )
        new = ids[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return texts


class Way:
    """One of the ways to generate, with what it has generated and how long that took."""

    def __init__(self, run: Callable[[Sequence[Question]], list[str]]) -> None:
        self.run = run
        self.seconds = 0.0
        self.outputs: list[str] = []

    def take(self, asked: Sequence[Question]) -> None:
        """Generate, and count the time."""
        start = time.perf_counter()
        self.outputs += self.run(asked)
        self.seconds += time.perf_counter() - start

    @property
    def speed(self) -> float:
        """Prompts a second."""
        return len(self.outputs) / self.seconds


def of_engine(engine: Any) -> Way:
    """One call of an engine for all that is asked."""
    engine.generate(["The first call of everything is slow."], 2)
    return Way(lambda asked: engine.generate([one.prompt for one in asked], [one.budget for one in asked]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="name, hub id or folder")
    parser.add_argument("--source", default="bundled", help="bundled, or a directory with the data sets")
    parser.add_argument("--examples", type=int, default=8, help="of each task in each round")
    parser.add_argument("--padded", type=int, default=1, help="examples of each task for the padded way")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()

    from rect import models
    from tasks import engines

    folder = models.resolve(options.model)
    names = ("transformers", *(["vllm"] if engines.which("auto") == "vllm" else []))
    with ExitStack() as stack:
        started = [stack.enter_context(engines.create(name, folder, max_model_len=PADDED)) for name in names]
        generate = Generate(folder)
        generate.padded(questions(options.source, 1, seed=0)[:1])  # the first call of everything is slow
        ways = {"padded": Way(generate.padded), "batched": Way(generate.batched)}
        ways |= {engine.name: of_engine(engine) for engine in started}
        for seed in range(options.rounds):
            for name, way in ways.items():
                count = options.padded if name == "padded" else options.examples
                way.take(questions(options.source, count, seed))
                print(f"round {seed + 1}: {name} {way.speed:.2f} prompts/s so far", flush=True)
    best = list(ways)[-1]
    asked = len(ways[best].outputs)
    print(f"\n{asked} prompts of eight tasks, {options.source} data, model {options.model}, float32")
    print(f"{'way':14}{'prompts/s':>12}{best + ' is':>20}")
    for name, way in ways.items():
        print(f"{name:14}{way.speed:12.2f}{ways[best].speed / way.speed:15.1f} times as fast")
    same = sum(a == b for a, b in zip(ways["transformers"].outputs, ways[best].outputs, strict=True))
    print(f"outputs of transformers and {best} are equal in {same} of {asked} prompts")


if __name__ == "__main__":
    main()
