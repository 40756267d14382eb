"""What many sequential ROME edits do to a model under several regularizers, and whether memory stays where it is.

    python benchmarks/long_sequence.py --facts zsre.jsonl --format zsre --edits 50 --text wiki.txt
    python benchmarks/long_sequence.py --edits 4 --regularizers none rect:40          # bundled facts and text

Each regularizer starts from the unedited model and takes the same facts in the same order. At each checkpoint: the
edits that still hold (over all facts so far), locality, perplexity of plain text, drift of the next-token distribution,
and the resident memory of this process. Prints a Markdown table per regularizer.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import time
from collections.abc import Sequence
from pathlib import Path

from rect import editors, evaluation, fact_files, facts, perplexity, regularizers
from rect.facts import Fact
from rect.model import EditableModel
from rect.prefixes import Prefixes

DRIFT_WORDS = 8
COLUMNS = (
    "| edits | reliability (preference) | reliability (token) | locality | perplexity | drift (nats) | memory (MB) |"
)


def resident() -> float:
    """Resident memory of this process in MB (Linux), what the allocator keeps for later given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def sequence(
    model: EditableModel,
    chosen: Sequence[Fact],
    regularizer: str,
    texts: Sequence[str],
    points: Sequence[int],
    seed: int,
    prefixes: Prefixes,
) -> list[float]:
    """Edit one fact after the other and print a line per checkpoint. Returns the memory at each checkpoint, in MB."""
    name, _, k = regularizer.partition(":")
    regularize = regularizers.get(name)
    editor = editors.create("rome", model, None, prefixes)
    prompts = [" ".join(text.split()[:DRIFT_WORDS]) for text in perplexity.neutral_paragraphs()]
    before = perplexity.next_token_log_probabilities(model, prompts)
    baselines = {n: evaluation.locality_baseline(model, chosen[:n]) for n in points if n}
    print(f"\n{name} {k}\n\n{COLUMNS}\n|{'---|' * (COLUMNS.count('|') - 1)}", flush=True)
    memory, spent = [], 0.0
    for n in range(len(chosen) + 1):
        if n:
            began = time.perf_counter()
            update = editor.compute(model, [chosen[n - 1]])
            model.add(regularize(update, model, k=float(k or 100), seed=seed * 1000 + n))
            spent += time.perf_counter() - began
        if n in points:
            figures = evaluation.evaluate(model, chosen[:n], baselines[n]).figures() if n else {}
            shown = [
                f"{figures[metric].value:.3f}" if metric in figures else ""
                for metric in (evaluation.RELIABILITY_PREFERENCE, evaluation.RELIABILITY, evaluation.LOCALITY)
            ]
            value, _ = perplexity.perplexity(model, texts)
            moved = perplexity.drift(before, model, prompts)
            memory.append(resident())
            print(f"| {n} | {' | '.join(shown)} | {value:.2f} | {moved:.4f} | {memory[-1]:.0f} |", flush=True)
    model.restore()
    print(f"\n{spent / len(chosen):.1f} s per edit", flush=True)
    return memory


def main(arguments: list[str] | None = None) -> dict[str, list[float]]:
    """Run and print. Returns the memory at each checkpoint, in MB, by regularizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="name, folder or hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--facts", type=Path, help="file of facts; default the bundled ones")
    parser.add_argument("--format", default="facts", choices=["facts", "zsre", "counterfact"])
    parser.add_argument("--edits", type=int, default=50)
    parser.add_argument("--points", type=int, nargs="+", default=[0, 5, 10, 20, 30, 40, 50])
    parser.add_argument("--regularizers", nargs="+", default=["none", "rect:40", "rect:20", "random:40"])
    parser.add_argument("--text", type=Path, help="plain text for the perplexity; default the bundled paragraphs")
    parser.add_argument("--characters", type=int, default=30_000, help="how much of it")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    known = fact_files.load(given.facts, format=given.format) if given.facts else fact_files.bundled()
    chosen = facts.draw(known, given.seed, given.edits)
    texts = [given.text.read_text()[: given.characters]] if given.text else perplexity.neutral_paragraphs()
    points = sorted({n for n in given.points if n <= given.edits})
    model = EditableModel.load(given.model, device=given.device)
    prefixes = Prefixes.sample(model)
    return {one: sequence(model, chosen, one, texts, points, given.seed, prefixes) for one in given.regularizers}


if __name__ == "__main__":
    main()
