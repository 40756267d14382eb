"""A thousand facts in sequence, with the vectors of all of them found once, under methods with and without a memory.

    python benchmarks/thousand_edits.py --facts zsre.jsonl --corpus wikitext.txt
    python benchmarks/thousand_edits.py --facts zsre.jsonl --edits 40 --batch 10 --compare 20     # a look at it

The facts are those of the file, then the bundled ones, none twice. Each cell starts from the unedited model and takes
the same facts in the same order. Prints a line an operation, at checkpoints with what holds of the edits so far; then a
table of the cells: minutes that updates took (values and measuring not in them), where it collapsed (the first
operation after which the perplexity of plain text is more than `COLLAPSE` times the unedited one, or fewer than half of
the edits hold), memory. And, on the first `--compare` facts in operations of a tenth of them, how far vectors of the
unedited model lead from those of the model as it stands (of one operation they are the same).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from modelfolder import whole_files
from rect import covariance, editors, evaluation, fact_files, facts, perplexity, regularizers
from rect.corpus import SELF, Corpus
from rect.covariance import Covariance
from rect.editors.memit import Memit
from rect.editors.value_search.vectors import Vectors
from rect.facts import Fact
from rect.history import History
from rect.model import EditableModel
from rect.prefixes import Prefixes
from rect.recipe import PER_DIMENSION, Recipe

METHODS = ("memit", "memit-history", "alphaedit")
REGULARIZERS = ("none", "rect:40")
COLLAPSE = 2.0
DRIFT_WORDS = 8


class Once:
    """Finds the vectors of a batch when they are first asked for; counts what that took.

    Args:
        folder: where they are kept, so that a run that was ended goes on from there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0

    def __call__(self, about: Mapping[str, Any], batch: Sequence[Fact], find: Callable[[], Vectors]) -> Vectors:
        searched = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        file = self.folder / f"{searched}-{facts.digest(batch)[:16]}.safetensors"
        if not file.exists():
            began = time.perf_counter()
            whole_files.write(file, find().to_bytes())
            self.seconds += time.perf_counter() - began
            print(f"  vectors of {len(batch)} facts: {time.perf_counter() - began:.0f} s", flush=True)
        return Vectors.from_bytes(file.read_bytes(), str(file))


class Bench:
    """A model with what every cell needs: prefixes, a covariance, what the unedited model said."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.model = EditableModel.load(given.model, device=given.device)
        self.prefixes: Prefixes | None = None
        plain = self.editor("memit", "each", None)
        self.prefixes = plain.prefixes  # MEMIT's own, for all
        self.covariance = self._covariance(given, plain.hparams.layers)
        self.once = Once(given.vectors)
        self.prompts = [" ".join(text.split()[:DRIFT_WORDS]) for text in perplexity.neutral_paragraphs()]
        self.before = perplexity.next_token_log_probabilities(self.model, self.prompts)
        self.unedited = self.perplexity()

    def _covariance(self, given: argparse.Namespace, layers: Sequence[int]) -> Covariance:
        tokens = PER_DIMENSION * max(self.model.weight(self.model.mlp_out_name(layers[0])).shape)
        recipe = Recipe(self.model.name, Corpus(given.corpus), tokens, window=128 if given.corpus == SELF else 512)
        return covariance.ensure(self.model, recipe, layers)

    def perplexity(self) -> float:
        return perplexity.perplexity(self.model, perplexity.neutral_paragraphs())[0]

    def editor(self, method: str, values: str, c: Covariance | None) -> Memit:
        hparams: dict[str, Any] = {"values": values} | ({} if c else {"mom2_adjustment": False})
        editor = editors.create(method, self.model, hparams, self.prefixes, c)
        assert isinstance(editor, Memit)
        return editor

    def cell(
        self, method: str, regularizer: str, batches: Sequence[Sequence[Fact]], points: Sequence[int], values: str
    ) -> tuple[dict[str, torch.Tensor], str]:
        """Edit batch after batch. Returns the change of each matrix, and the cell's line of the table."""
        editor = self.editor(method, values, self.covariance)
        editor.keep = self.once
        name, _, k = regularizer.partition(":")
        regularize, history, spent, collapsed, line = regularizers.get(name), History(), 0.0, "", ""
        done: list[Fact] = []
        for number, batch in enumerate(batches, start=1):
            searching, began = self.once.seconds, time.perf_counter()
            kept = regularize(editor.compute(self.model, batch, history), self.model, k=float(k or 100), seed=number)
            self.model.add(kept)
            history = history.after(kept)
            spent += time.perf_counter() - began - (self.once.seconds - searching)
            done += batch
            text, moved = self.perplexity(), perplexity.drift(self.before, self.model, self.prompts)
            preferred = exact = math.nan
            if number in points:
                holds = evaluation.evaluate(self.model, done).figures()
                preferred, exact = holds[evaluation.RELIABILITY_PREFERENCE].value, holds[evaluation.RELIABILITY].value
            line = f"{len(done)} | {preferred:.3f} | {exact:.3f} | {text:.2f} | {moved:.4f}"
            print(f"| {method} | {regularizer} | {values} | {line} |", flush=True)
            if not collapsed and (text > COLLAPSE * self.unedited or preferred < 0.5):
                collapsed = str(len(done))
        change = {key: now - self.model.original(key) for key, now in self.model.changed().items()}
        self.model.restore()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        return change, f"| {method} | {regularizer} | {line} | {spent / 60:.2f} | {collapsed or '-'} | {memory:.1f} |"


def choose(path: Path | None, format: str, edits: int) -> list[Fact]:
    """The facts of a file, then the bundled ones, each once; says where there are fewer than were asked for."""
    given = fact_files.load(path, format=format) if path else []
    chosen = facts.distinct([*given, *fact_files.bundled()])[:edits]
    if len(chosen) < edits:
        print(f"{edits} facts are asked for, {len(chosen)} are at hand: {len(chosen)} are edited")
    return chosen


def apart(bench: Bench, batches: Sequence[Sequence[Fact]]) -> None:
    """How far values-once lies from values-each, per method: of the whole change of the matrices."""
    for method in METHODS:
        each, once = (bench.cell(method, "none", batches, [len(batches)], how)[0] for how in ("each", "unedited"))
        whole = sum(float(one.double().square().sum()) for one in each.values())
        off = sum(float((each[key] - once[key]).double().square().sum()) for key in each)
        dot = sum(float((each[key].double() * once[key].double()).sum()) for key in each)
        other = sum(float(one.double().square().sum()) for one in once.values())
        print(
            f"| {method} | apart {(off / whole) ** 0.5:.3f} | cosine {dot / (whole * other) ** 0.5:.4f} |", flush=True
        )


def main(arguments: list[str] | None = None) -> list[str]:
    """Run and print. Returns the lines of the table of cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="name, folder or hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--facts", type=Path, help="file of facts; the bundled ones come after them")
    parser.add_argument("--format", default="zsre", choices=["facts", "zsre", "counterfact"])
    parser.add_argument("--edits", type=int, default=1000, help="0: no cells, the comparison alone")
    parser.add_argument("--batch", type=int, default=100, help="facts in an operation")
    parser.add_argument("--checkpoints", type=int, default=5, help="so many, evenly: what holds is measured there")
    parser.add_argument("--compare", type=int, default=100, help="facts of values-once against values-each; 0: none")
    parser.add_argument("--corpus", default=SELF, help="text of the covariance")
    parser.add_argument("--vectors", type=Path, default=Path("results/thousand-edits"), help="where they are kept")
    given = parser.parse_args(arguments)
    given.vectors.mkdir(parents=True, exist_ok=True)
    chosen = choose(given.facts, given.format, max(given.edits, given.compare))
    edited = chosen[: given.edits]
    batches = [edited[i : i + given.batch] for i in range(0, len(edited), given.batch)]
    points = sorted({round(len(batches) * (i + 1) / given.checkpoints) for i in range(given.checkpoints)} - {0})
    bench = Bench(given)
    print(f"unedited: perplexity {bench.unedited:.2f}\n", flush=True)
    lines = []
    for method in METHODS if batches else ():
        for regularizer in REGULARIZERS:
            lines.append(bench.cell(method, regularizer, batches, points, "unedited")[1])
    print(f"\nvectors: {bench.once.seconds / 60:.1f} minutes, of {len(edited)} facts those that were not kept\n")
    columns = "method | regularizer | edits | preference | token | perplexity | drift | minutes | collapsed at | GB"
    print("\n".join([f"| {columns} |", "|" + "---|" * 10, *lines, ""]), flush=True)
    if given.compare:
        first, size = chosen[: given.compare], max(given.compare // 10, 1)
        apart(bench, [first[i : i + size] for i in range(0, len(first), size)])
    return lines


if __name__ == "__main__":
    main()
