"""How much faster KN finds its neurons than the plain formulation, on the same facts, in one process, taking turns.

    python benchmarks/kn_speed.py                   # 3 bundled facts on the default model
    python benchmarks/kn_speed.py --facts 8 --model openai-community/gpt2-xl

The plain formulation is the released one: layer after layer, the points of that layer's path as one batch, the whole
model forward and backward over the whole prompt with all logits. Both sides have the same hyperparameters, dtype,
threads. Printed: seconds, ratio, cosine of the updates, whether the neurons are the same, and the peak of memory that
each side adds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

try:
    from benchmarks.edit_speed import in_turns
except ImportError:  # run as a file: this folder is on the path, not the one above it
    from edit_speed import in_turns  # type: ignore[no-redef]

from rect import editors, fact_files
from rect.editors.kn import attribution
from rect.editors.kn.editor import Kn
from rect.facts import Fact
from rect.model import EditableModel
from rect.prompts import continue_with
from rect.update import LowRank, Update


def plain_scores(model: EditableModel, ids: Sequence[int], token: int, steps: int) -> Tensor:
    """Integrated gradients of P(token) for the input of each output projection, (layers, inner size)."""
    rows = torch.tensor([list(ids)], device=model.device).expand(steps, -1)  # (points, positions)
    alphas = torch.linspace(0, 1, steps, device=model.device)[:, None]
    found = []
    for layer in range(model.n_layers):
        seen: dict[str, Tensor] = {}

        def scale(_module: Any, inputs: Any, seen: dict[str, Tensor] = seen) -> Any:
            seen["value"] = inputs[0][0, -1].detach()
            seen["scaled"] = (alphas * seen["value"]).requires_grad_()  # (points, inner size)
            return (torch.cat([inputs[0][:, :-1], seen["scaled"][:, None]], 1), *inputs[1:])

        handle = model.module(model.path(model.architecture.mlp_out, layer)).register_forward_pre_hook(scale)
        with torch.enable_grad():
            probability = model.hf(rows, use_cache=False).logits[:, -1].float().softmax(-1)[:, token]
        handle.remove()
        (gradient,) = torch.autograd.grad(probability.sum(), seen["scaled"])
        found.append(seen["value"] * gradient.sum(0) / steps)
    return torch.stack(found)


def plain(model: EditableModel, kn: Kn, fact: Fact) -> tuple[Update, list[tuple[int, int]]]:
    """The update and the neurons."""
    ids, answer = continue_with(model.tokenizer, fact.filled, str(fact.original))
    said = attribution.greedy(model, ids, len(answer) - 1)
    each = [plain_scores(model, [*ids, *said[:i]], token, kn.hparams.steps) for i, token in enumerate(answer)]
    scores = torch.stack(each).mean(0)
    neurons = [(int(a), int(b)) for a, b in (scores > kn.hparams.adaptive_threshold * scores.max()).nonzero().tolist()]
    return as_update(model, neurons, kn.difference(model, fact)), neurons


def as_update(model: EditableModel, neurons: list[tuple[int, int]], difference: Tensor) -> Update:
    entries = {}
    for layer in sorted({layer for layer, _ in neurons}):
        name = model.mlp_out_name(layer)
        rows, columns = model.weight(name).shape
        indicator = difference.new_zeros(rows if model.architecture.transposed else columns)
        indicator[[index for where, index in neurons if where == layer]] = 1
        pair = (indicator, difference) if model.architecture.transposed else (difference, indicator)
        entries[name] = LowRank(pair[0][:, None], pair[1][None, :])
    return Update(entries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--facts", type=int, default=3)
    parser.add_argument("--rows", type=int, default=128, help="rows_per_pass: bounds the memory of ours")
    arguments = parser.parse_args()
    model = EditableModel.load(arguments.model)
    kn = editors.create("kn", model, {"neurons": "activation", "rows_per_pass": arguments.rows})
    assert isinstance(kn, Kn)

    def ours(fact: Fact) -> tuple[Update, list[tuple[int, int]]]:
        update = kn.compute(model, [fact])
        found = update.provenance["neurons"]
        return update, [(int(layer), index) for layer, indices in found.items() for index in indices]

    facts = [fact for fact in fact_files.bundled() if fact.original][: arguments.facts]
    kn.compute(model, facts[:1])  # warm
    print(f"{arguments.model}, {model.n_layers} layers x {kn.hparams.steps} points, {torch.get_num_threads()} threads")
    in_turns("KN", model.device, facts, lambda fact: plain(model, kn, fact), ours)


if __name__ == "__main__":
    main()
