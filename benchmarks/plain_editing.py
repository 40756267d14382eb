"""ROME and MEMIT in the plain formulation: what `rect.editors` must equal, and what it is measured against.

Each optimization step runs the whole model forward and backward over all tokens of all rows and takes all logits, one
fact at a time; each MEMIT layer runs all prompts through the model again on weights edited so far. Nothing is reused.
It follows the description in the papers (Meng et al. 2022 and 2023) and knows nothing of the fast code; tokens of the
rows come from `rect.prompts`, so that both see the same input.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rect.prompts import Row, edit_rows, encode, token_at
from rect.update import LowRank, Update

if TYPE_CHECKING:
    from rect.facts import Fact
    from rect.model import EditableModel


@dataclasses.dataclass(frozen=True)
class PlainValue:
    """Result of one optimization: the value before, what was added to it, and the loss of each iteration."""

    initial: Tensor
    delta: Tensor
    losses: list[float]


def value(
    model: EditableModel, fact: Fact, templates: Sequence[str], hparams: Any, layer: int, from_mlp: bool
) -> PlainValue:
    """Optimize the vector of one fact with full passes.

    Args:
        model: the model.
        fact: the fact.
        templates: context templates, the bare one first.
        hparams: hyperparameters with EasyEdit's names.
        layer: where the vector is added.
        from_mlp: at the output of the MLP's last projection, not of the block.
    """
    rows = edit_rows(model.tokenizer, fact, templates)
    text = f"{fact.subject} is a"
    ids = encode(model.tokenizer, text)
    rows.append(Row(tuple(ids), token_at(model.tokenizer, text, ids, len(fact.subject))))
    tokens, mask = pad(model, rows)
    targets = torch.full_like(tokens, -100)
    for i, row in enumerate(rows[:-1]):
        targets[i, row.length - len(row.targets) : row.length] = torch.tensor(row.targets)
    lookups = torch.tensor([row.lookup for row in rows], device=model.device)
    each = torch.arange(len(rows), device=model.device)

    path = model.architecture.mlp_out if from_mlp else model.architecture.block
    module = model.module(path.replace("{}", str(layer)))
    delta = torch.zeros(model.hidden_size, device=model.device, requires_grad=True)
    seen: list[Tensor] = []

    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        seen.append(hidden[0, lookups[0]].detach().clone())
        hidden = hidden.index_put((each, lookups), hidden[each, lookups] + delta.to(hidden.dtype))
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    adam = torch.optim.Adam([delta], lr=hparams.v_lr)
    losses: list[float] = []
    start: Tensor | None = None
    with hooked(module, add):
        for step in range(hparams.v_num_grad_steps):
            adam.zero_grad()
            logits = model.hf(tokens, attention_mask=mask, use_cache=False).logits.float()
            now = logits[-1, lookups[-1]].log_softmax(-1)
            start = now.detach() if start is None else start
            log_p = logits[:-1].log_softmax(-1)  # (rows, positions, vocabulary)
            wanted = targets[:-1] != -100
            picked = log_p.gather(2, targets[:-1].clamp(min=0)[:, :, None])[:, :, 0] * wanted
            nll = -(picked.sum(1) / wanted.sum(1)).mean()
            kl = (now.exp() * (now - start)).sum()
            initial = seen[0].float()
            decay = hparams.v_weight_decay * delta.norm() / initial.norm() ** 2
            loss = nll + hparams.kl_factor * kl + decay
            losses.append(float(loss.detach()))
            if loss < 0.05 or step == hparams.v_num_grad_steps - 1:
                break
            loss.backward()
            adam.step()
            with torch.no_grad():
                limit = hparams.clamp_norm_factor * initial.norm()
                if delta.norm() > limit:
                    delta.mul_(limit / delta.norm())
    return PlainValue(initial, delta.detach(), losses)


def rome(
    model: EditableModel,
    fact: Fact,
    templates: Sequence[str],
    hparams: Any,
    covariance: Tensor | None = None,
) -> tuple[Update, list[float]]:
    """ROME with full passes. `covariance` is C of the layer, (inner, inner)."""
    layer = hparams.layers[0]
    module = model.architecture.mlp_out.replace("{}", str(layer))
    keys, outputs = at_lookup(model, edit_rows(model.tokenizer, fact, templates), module)
    found = value(model, fact, templates, hparams, layer, from_mlp=True)
    u = keys.mean(0)
    if covariance is not None:
        u = (torch.linalg.inv(covariance.double()) @ u.double()).float()
    u = u / u.norm()
    v = (found.initial + found.delta - outputs[0]) / (keys[0] @ u)
    return Update({f"{module}.weight": factors(model, v[:, None], u[:, None])}), found.losses


def memit(
    model: EditableModel,
    facts: Sequence[Fact],
    templates: Sequence[str],
    hparams: Any,
    covariances: dict[int, Tensor],
) -> tuple[Update, list[PlainValue]]:
    """MEMIT with full passes; `covariances` is C by layer. Weights are edited on the way and put back at the end."""
    last = hparams.layers[-1]
    values = [value(model, fact, templates, hparams, last, from_mlp=False) for fact in facts]
    targets = torch.stack([v.initial + v.delta for v in values])  # (facts, hidden)
    total = Update({})
    names = [model.mlp_out_name(layer) for layer in hparams.layers]
    before = {name: model.weight(name).clone() for name in names}
    try:
        for i, layer in enumerate(hparams.layers):
            module = model.architecture.mlp_out.replace("{}", str(layer))
            keys = []
            current = []
            for fact in facts:
                rows = edit_rows(model.tokenizer, fact, templates)
                key, _ = at_lookup(model, rows, module)
                keys.append((key[0] + key[1:].mean(0)) / 2 if len(key) > 1 else key[0])
                _, now = at_lookup(model, rows[:1], model.architecture.block.replace("{}", str(last)))
                current.append(now[0])
            k = torch.stack(keys, 1).double()  # (inner, facts)
            residual = (targets - torch.stack(current)).T.double() / (len(hparams.layers) - i)  # (hidden, facts)
            c = covariances[layer].double()
            adjusted = torch.linalg.solve(hparams.mom2_update_weight * c + k @ k.T, k)
            update = Update({names[i]: factors(model, residual.float(), adjusted.float())})
            live = model.weight(names[i])
            live.copy_((live.float() + update.dense(names[i])).to(live.dtype))
            total = total + update
    finally:
        for name, tensor in before.items():
            model.weight(name).copy_(tensor)
    return total, values


def factors(model: EditableModel, left: Tensor, right: Tensor) -> LowRank:
    """dW = left @ right^T for a weight stored (out, in), turned round where it is stored (in, out)."""
    return LowRank(right, left.T) if model.architecture.transposed else LowRank(left, right.T)


@torch.no_grad()
def at_lookup(model: EditableModel, rows: Sequence[Row], path: str) -> tuple[Tensor, Tensor]:
    """Input and output of a module at the lookup position of each row, from one full pass: (rows, n) each, float32."""
    seen: dict[str, Tensor] = {}

    def look(_module: Any, inputs: Any, output: Any) -> None:
        seen["in"] = inputs[0] if inputs else torch.zeros(())
        seen["out"] = output[0] if isinstance(output, tuple) else output

    tokens, mask = pad(model, rows)
    with hooked(model.module(path), look):
        model.hf(tokens, attention_mask=mask, use_cache=False)
    each, lookups = torch.arange(len(rows)), torch.tensor([row.lookup for row in rows])
    given = seen["in"]
    return (given[each, lookups].float() if given.ndim == 3 else given), seen["out"][each, lookups].float()


def pad(model: EditableModel, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Tokens and attention mask, (rows, positions) each, padded on the right."""
    length = max(row.length for row in rows)
    tokens = torch.tensor([[*row.ids, *[0] * (length - row.length)] for row in rows], device=model.device)
    mask = torch.tensor([[1] * row.length + [0] * (length - row.length) for row in rows], device=model.device)
    return tokens, mask


@contextlib.contextmanager
def hooked(module: torch.nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """A forward hook that is taken off again."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
