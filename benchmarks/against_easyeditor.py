"""Our ROME and MEMIT beside EasyEdit's: the same facts, prefixes, hyperparameters and covariances, taking turns.

    make easyeditor
    python benchmarks/against_easyeditor.py                 # ROME on 3 facts, MEMIT on one batch of 16
    python benchmarks/against_easyeditor.py --only rome --facts 8
    python benchmarks/against_easyeditor.py --source zsre_mend_eval.json --format zsre

EasyEdit runs in its environment (rect.editors.easyeditor) with the same number of threads. Its time is that of its own
function alone: neither its start, nor the way of weights and facts. Both sides have the context prefixes that
EasyEdit would draw: 21 for ROME, 6 for MEMIT. Printed for each operation: its seconds; per method: seconds per edit,
ratio, memory that an edit adds at its peak, cosine of the updates (apart for targets of one token: EasyEdit 0.0.1.dev0
puts longer ones together in another way than its later versions), and the share of target tokens that the edited model
says.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch

try:
    from benchmarks.edit_speed import Measured, measured, rough_covariance
except ImportError:  # run as a file: this folder is on the path, not the one above it
    from edit_speed import Measured, measured, rough_covariance  # type: ignore[no-redef]

from rect import editors, evaluation, fact_files
from rect import facts as fact_tools
from rect.editors.base import Editor
from rect.facts import Fact
from rect.model import EditableModel
from rect.prefixes import Prefixes
from rect.prompts import continue_with
from rect.update import Update


def compare(name: str, model: EditableModel, work: list[list[Fact]], ours: Editor, theirs: Editor) -> float:
    """Run both sides on each batch of facts, the order alternating; print the comparison and return the ratio."""
    sides = {"EasyEdit": (theirs, Measured()), "ours": (ours, Measured())}
    said: dict[str, list[float]] = {side: [] for side in sides}
    cosines: dict[bool, list[float]] = {True: [], False: []}
    for i, facts in enumerate(work):
        found: dict[str, Update] = {}
        for side in sorted(sides, reverse=bool(i % 2)):
            editor, total = sides[side]
            with measured(alone := Measured(), model.device):
                found[side] = editor.compute(model, facts)
            took = found[side].provenance.get("took", {"seconds": alone.seconds, "peak": alone.memory})
            total.seconds += took["seconds"]
            total.memory = max(total.memory, int(took["peak"]))
            print(f"  {name} {i + 1} of {len(work)}, {side}: {took['seconds']:.1f} s", flush=True)
            said[side].append(success(model, found[side], facts))
        short = all(len(continue_with(model.tokenizer, fact.filled, fact.target)[1]) == 1 for fact in facts)
        for matrix in found["ours"]:
            a, b = (update.dense(matrix).flatten().double() for update in found.values())
            cosines[short].append(torch.cosine_similarity(a, b, 0).item())
    slow, fast = sides["EasyEdit"][1], sides["ours"][1]
    edits = sum(map(len, work))
    named = {"one token": cosines[True], "more": cosines[False]}
    alike = ", ".join(f"{min(values):.7f} ({what})" for what, values in named.items() if values)
    right = ", ".join(f"{side} {statistics.fmean(values):.0%}" for side, values in said.items())
    print(
        f"{name}, {edits} edits: EasyEdit {slow.seconds / edits:.2f} s, ours {fast.seconds / edits:.2f} s per edit: "
        f"{slow.seconds / fast.seconds:.2f}x\n"
        f"  memory added at most {slow.memory / 1e6:.0f} and {fast.memory / 1e6:.0f} MB; cosine at least {alike}; "
        f"target tokens said: {right}",
        flush=True,
    )
    return slow.seconds / fast.seconds


def success(model: EditableModel, update: Update, facts: list[Fact]) -> float:
    """Share of target tokens that are the most likely ones after the edit prompt."""
    baseline = evaluation.locality_baseline(model, facts)
    with model.edited(update):
        return evaluation.evaluate(model, facts, baseline).figures()["reliability/token_accuracy"].value


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure and print. Returns the ratios by method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="name, folder or hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=["rome", "memit"])
    parser.add_argument("--facts", type=int, default=3, help="facts edited with ROME, one after the other")
    parser.add_argument("--batch", type=int, default=16, help="facts edited with MEMIT, together")
    parser.add_argument("--source", help="file of facts, of which a seeded sample is edited; default bundled ones")
    parser.add_argument("--format", default="facts", choices=["facts", "zsre", "counterfact"])
    parser.add_argument("--steps", type=int, help="iterations of both sides; default: the hyperparameters'")
    parser.add_argument("--threads", type=int, help="threads of torch, on both sides")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    model = EditableModel.load(given.model, device=given.device)
    facts = fact_files.bundled()
    if given.source:
        loaded = fact_files.load(given.source, format=given.format)
        facts = fact_tools.draw(loaded, 0, max(given.facts, given.batch))
    hparams = None if given.steps is None else {"v_num_grad_steps": given.steps}
    print(f"{given.model}, {model.device}, {model.dtype}, {torch.get_num_threads()} threads", flush=True)
    work = {"rome": [[fact] for fact in facts[: given.facts]], "memit": [facts[: given.batch]]}
    ratios = {}
    for method in work if given.only is None else [given.only]:
        drawn = editors.get(f"easyeditor:{method.upper()}").hparams_class.model_fields["context_template_length_params"]
        parts: dict[str, Any] = {"hparams": hparams, "prefixes": Prefixes.sample(model, 0, drawn.default)}
        if method == "memit":
            found: Any = editors.hyperparameters.resolve(editors.get("memit").hparams_class, hparams, model)
            parts["covariance"] = rough_covariance(model, found.layers)
        ours, theirs = (editors.create(name, model, **parts) for name in (method, f"easyeditor:{method.upper()}"))
        ratios[method] = compare(method.upper(), model, work[method], ours, theirs)
    return ratios


if __name__ == "__main__":
    main()
