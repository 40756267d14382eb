"""How much faster ROME and MEMIT are than the plain formulation, on the same facts, in one process, taking turns.

    python benchmarks/edit_speed.py                 # ROME on 3 facts, MEMIT on one batch of 16
    python benchmarks/edit_speed.py --only rome --facts 8
    python benchmarks/edit_speed.py --source zsre_mend_eval.json --format zsre

The plain formulation (benchmarks/plain_editing.py) is what today's tools do: full forward and backward passes with all
logits in each step, one fact at a time. Both sides have the same 21 context prefixes, hyperparameters, dtype, threads.
Printed per method: seconds, ratio, seconds of processor time (the more robust of the two on a busy machine), cosine of
the updates, whether the step counts agree, the peak of memory that each side adds, and ours' share of the speed of
products: the matrix products of an edit per second of processor time (on a GPU: of time), against one large product's.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

try:
    from benchmarks import plain_editing
except ImportError:  # run as a file: this folder is on the path, not the one above it
    import plain_editing  # type: ignore[no-redef]

from rect import covariance, editors, fact_files, facts
from rect.covariance import Covariance
from rect.facts import Fact
from rect.model import EditableModel
from rect.perplexity import neutral_paragraphs
from rect.prefixes import Prefixes


@dataclasses.dataclass
class Measured:
    """One side's totals: seconds, those of processor time, and the largest memory it added, in bytes."""

    seconds: float = 0.0
    processor: float = 0.0
    memory: int = 0


@contextlib.contextmanager
def measured(total: Measured, device: torch.device) -> Iterator[None]:
    """Add the time of a block, and note the peak of memory over where it began."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        start = time.perf_counter()
        yield
        torch.cuda.synchronize(device)
        total.seconds += time.perf_counter() - start
        total.memory = max(total.memory, torch.cuda.max_memory_allocated(device) - before)
        return
    done, before, peak = threading.Event(), resident(), [0]

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], resident() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, busy = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        total.seconds += time.perf_counter() - start
        total.processor += time.process_time() - busy
        done.set()
        watcher.join()
    total.memory = max(total.memory, peak[0])


def resident() -> int:
    """Resident memory of this process in bytes (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


class Products(TorchDispatchMode):
    """Counts the floating point operations of matrix products while it is entered: two for each multiplication."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        return out


def large_product(device: torch.device, size: int = 2048) -> float:
    """Floating point operations per second (of processor time on a CPU) in the best of ten large products, float32."""
    matrix = torch.randn(size, size, device=device)
    times = []
    for _ in range(10):
        with measured(total := Measured(), device):
            matrix @ matrix
        times.append(total.processor or total.seconds)
    return 2 * size**3 / min(times)


def in_turns(
    name: str,
    device: torch.device,
    work: list[Any],
    plain: Callable[[Any], tuple[Any, Any]],
    ours: Callable[[Any], tuple[Any, Any]],
    per: int = 1,
) -> float:
    """Run both sides on each piece of work, the order alternating; print the comparison and return the ratio.

    Both functions give (update, iterations).
    """
    sides = {"plain": (plain, Measured()), "ours": (ours, Measured())}
    cosines, agree, first = [], True, math.nan
    for i, piece in enumerate(work):
        found = {}
        for side in ("plain", "ours") if i % 2 == 0 else ("ours", "plain"):
            function, total = sides[side]
            with measured(total, device):
                found[side] = function(piece)
        if i == 0:
            first = sides["ours"][1].processor or sides["ours"][1].seconds
        (expected, their_steps), (update, our_steps) = found["plain"], found["ours"]
        agree &= their_steps == our_steps
        for matrix in expected:
            a, b = expected.dense(matrix).flatten().double(), update.dense(matrix).flatten().double()
            cosines.append(torch.cosine_similarity(a, b, 0).item())
    slow, fast = sides["plain"][1], sides["ours"][1]
    with Products() as products:
        ours(work[0])
    rate, best = products.operations / first, large_product(device)
    edits = len(work) * per
    print(
        f"{name}: plain {slow.seconds / edits:.2f} s, ours {fast.seconds / edits:.2f} s per edit over {edits} edits: "
        f"{slow.seconds / fast.seconds:.2f}x; of the processor {slow.processor / edits:.2f} and "
        f"{fast.processor / edits:.2f} s; {rate / 1e9:.0f} of {best / 1e9:.0f} GFLOP/s ({rate / best:.0%}); "
        f"cosine at least {min(cosines):.7f}; "
        f"steps {'equal' if agree else 'DIFFER'}; "
        f"memory added at most {slow.memory / 1e6:.0f} and {fast.memory / 1e6:.0f} MB",
        flush=True,
    )
    return slow.seconds / fast.seconds


def rough_covariance(model: EditableModel, layers: tuple[int, ...]) -> Covariance:
    """From the bundled neutral text, with a ridge, as that is short: speed does not depend on the numbers."""
    rows = [[model.tokenizer(text)["input_ids"]] for text in neutral_paragraphs()]
    sums = covariance.accumulate(model, layers, rows)
    matrices = {}
    for layer, total in sums.layers.items():
        mean = total / sums.tokens
        matrices[layer] = (
            mean + torch.eye(len(mean), dtype=mean.dtype, device=mean.device) * mean.diagonal().mean() / 10
        )
    return Covariance(matrices, sums.tokens, {"text": "neutral", "ridge": 0.1})


def compare_rome(model: EditableModel, chosen: list[Fact], prefixes: Prefixes) -> float:
    editor = editors.create("rome", model, {"mom2_adjustment": False}, prefixes)

    def ours(fact: Fact) -> tuple[Any, Any]:
        update = editor.compute(model, [fact])
        return update, len(update.provenance["losses"][0])

    def plain(fact: Fact) -> tuple[Any, Any]:
        update, losses = plain_editing.rome(model, fact, prefixes.templates, editor.hparams)
        return update, len(losses)

    return in_turns("ROME", model.device, chosen, plain, ours)


def compare_memit(model: EditableModel, chosen: list[Fact], prefixes: Prefixes) -> float:
    layers = editors.hyperparameters.resolve(editors.get("memit").hparams_class, None, model).layers  # type: ignore[attr-defined]
    statistics = rough_covariance(model, layers)
    editor = editors.create("memit", model, None, prefixes, statistics)
    matrices = {layer: statistics.matrix(layer) for layer in layers}

    def ours(batch: list[Fact]) -> tuple[Any, Any]:
        update = editor.compute(model, batch)
        return update, [len(losses) for losses in update.provenance["losses"]]

    def plain(batch: list[Fact]) -> tuple[Any, Any]:
        update, values = plain_editing.memit(model, batch, prefixes.templates, editor.hparams, matrices)
        return update, [len(value.losses) for value in values]

    return in_turns(f"MEMIT, {len(chosen)} facts together", model.device, [chosen], plain, ours, per=len(chosen))


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and print. Returns the ratios by method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="name, folder or hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", choices=["rome", "memit"])
    parser.add_argument("--facts", type=int, default=3, help="facts edited with ROME, one after the other")
    parser.add_argument("--batch", type=int, default=16, help="facts edited with MEMIT, together")
    parser.add_argument("--source", help="file of facts, of which a seeded sample is edited; default bundled ones")
    parser.add_argument("--format", default="facts", choices=["facts", "zsre", "counterfact"])
    parser.add_argument("--threads", type=int, help="threads of torch")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    model = EditableModel.load(given.model, device=given.device, dtype=given.dtype)
    prefixes = Prefixes.sample(model)
    known = fact_files.bundled()
    if given.source:
        known = facts.draw(fact_files.load(given.source, format=given.format), 0, max(given.facts, given.batch))
    print(f"{given.model}, {model.device}, {model.dtype}, {torch.get_num_threads()} threads, {len(prefixes)} prefixes")
    ratios = {}
    if given.only != "memit":
        ratios["rome"] = compare_rome(model, known[: given.facts], prefixes)
    if given.only != "rome":
        ratios["memit"] = compare_memit(model, known[: given.batch], prefixes)
    return ratios


if __name__ == "__main__":
    main()
