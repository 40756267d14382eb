"""The vector that makes the model say the target: gradient descent through the later layers.

ROME (Meng et al. 2022, eq. 4) and MEMIT (Meng et al. 2023, eq. 16) look for a vector delta, added at the subject's last
token of every row at once, that minimizes

    mean over rows of -log P(target | row) + kl_factor * KL(P_delta || P_0 at the subject of "{} is a")
    + v_weight_decay * |delta| / |initial value|^2

with Adam. A fact's optimization ends when its loss is below 0.05, looked at before the step, or after
`v_num_grad_steps` iterations, of which the last makes no step. After each step |delta| is cut to clamp_norm_factor *
|initial value|.

With `stop_when_most_probable` c it ends besides in the c-th iteration in which every target token, in every context, is
the most likely one: "most-probable early stopping" of ENCORE (Gupta et al., EMNLP Findings 2025), whose release does
not ask for the tokens of the bare prompt.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rect.editors.value_search import packing
from rect.editors.value_search.later_layers import Tail
from rect.editors.value_search.losses import Asked, Reading
from rect.facts import Fact
from rect.prompts import edit_rows, kl_row
from rect.update import UpdateError

if TYPE_CHECKING:
    from rect.editors.value_search.hparams import ValueHparams
    from rect.model import EditableModel

log = logging.getLogger(__name__)

ENOUGH = 0.05
TOKENS = 512
PASS = 24
ATTENTION = 0.1


@dataclasses.dataclass(frozen=True)
class Value:
    """What the optimization of one fact gave.

    Attributes:
        initial: the value at the bare prompt before anything is added, (hidden,).
        delta: what is to be added to it, (hidden,).
        keys: input of the MLP's output projection at the subject's last token, one row per context, (contexts, inner).
        losses: the loss of each iteration.
    """

    initial: Tensor
    delta: Tensor
    keys: Tensor
    losses: tuple[float, ...]

    @property
    def target(self) -> Tensor:
        return self.initial + self.delta


def optimize(
    model: EditableModel,
    facts: Sequence[Fact],
    templates: Sequence[str],
    hparams: ValueHparams,
    layer: int,
    last: int,
    from_mlp: bool,
    tokens: int = TOKENS,
) -> list[Value]:
    """The values of some facts, one after the other or several at a time; each as if it were alone.

    Args:
        model: the model; only read.
        facts: the facts.
        templates: context templates; the first is the bare `{}`.
        hparams: how.
        layer: where the vector is added.
        last: the layer whose output likelihood and KL are read from, through the final norm and the head.
        from_mlp: at the MLP's output (ROME), not at the block's output (MEMIT).
        tokens: about how many positions one step may hold: facts are optimized together up to that many.
    """
    tasks = [_asked(model, fact, templates) for fact in facts]
    values: dict[int, Value] = {}
    share = ATTENTION if packing.applies(model.hf) else 1.0
    for together in groups([[row.length - row.lookup for row in task.rows] for task in tasks], tokens, share):
        found = _optimize(model, [tasks[i] for i in together], hparams, layer, last, from_mlp)
        values |= zip(together, found, strict=True)
        log.info("layer %d: vectors of %d of %d facts", layer, len(values), len(tasks))
    return [values[i] for i in range(len(tasks))]


def groups(shapes: Sequence[Sequence[int]], tokens: int, share: float = 1.0) -> list[list[int]]:
    """Which facts to optimize together: the cheapest way to cut them, sorted by positions, into runs.

    A run's rows are padded to its longest, and its pass costs as much as `PASS` positions besides.

    Args:
        shapes: of each fact, the positions of each of its rows.
        tokens: how many positions a run may hold, padding included at its share; one fact alone may hold more.
        share: what a position of padding costs, of a real one.
    """
    steps, real = [max(shape) for shape in shapes], [sum(shape) for shape in shapes]
    order = sorted(range(len(shapes)), key=lambda i: -steps[i])
    best: list[tuple[float, int]] = [(0, 0)]  # of the first n facts: the least cost, and where its last run begins
    for end in range(1, len(order) + 1):
        found, rows, filled = [], 0, 0
        for start in range(end - 1, -1, -1):
            rows += len(shapes[order[start]])
            filled += real[order[start]]
            cost = filled + share * (rows * steps[order[start]] - filled)
            if cost > tokens and start < end - 1:
                break
            found.append((best[start][0] + cost + PASS, start))
        best.append(min(found))
    runs: list[list[int]] = []
    end = len(order)
    while end:
        start = best[end][1]
        runs.append(order[start:end])
        end = start
    return runs[::-1]


def _asked(model: EditableModel, fact: Fact, templates: Sequence[str]) -> Asked:
    """The rows of one fact: one per context, and the one for KL unless the first does its work."""
    rows, kl = edit_rows(model.tokenizer, fact, templates), kl_row(model.tokenizer, fact.subject)
    if rows[0].ids[: rows[0].lookup + 1] == kl.ids:  # the prompt begins with the subject: the same computation
        return Asked(tuple(rows), len(rows), 0)
    return Asked((*rows, kl), len(rows), len(rows))


def _optimize(
    model: EditableModel, tasks: list[Asked], hparams: ValueHparams, layer: int, last: int, from_mlp: bool
) -> list[Value]:
    rows = [row for task in tasks for row in task.rows]
    tail = Tail(model, rows, layer, last, from_mlp)
    firsts = [sum(len(t.rows) for t in tasks[:i]) for i in range(len(tasks))]
    before = (tail.mlp if from_mlp else tail.block)[firsts]  # (tasks, hidden)
    keys = [tail.keys[first : first + task.contexts] for first, task in zip(firsts, tasks, strict=True)]
    norms = before.norm(dim=-1)
    deltas = [torch.zeros_like(value, requires_grad=True) for value in before]
    adams = [torch.optim.Adam([delta], lr=hparams.v_lr) for delta in deltas]
    history: list[list[float]] = [[] for _ in tasks]
    patience = [hparams.stop_when_most_probable or math.inf] * len(tasks)  # iterations with all targets on top, left
    active = list(range(len(tasks)))
    start: Tensor | None = None
    reading, owners = Reading(model, tasks), _owners(tasks)
    for step in range(hparams.v_num_grad_steps):
        final = step == hparams.v_num_grad_steps - 1
        with torch.set_grad_enabled(not final):
            now = torch.stack([deltas[i] for i in active])
            hidden = tail.run(now[owners])
            nll, kl, best = reading.losses(hidden, start)
            start = reading.at_subject(hidden) if start is None else start
            decay = hparams.v_weight_decay * now.norm(dim=-1) / norms[active] ** 2
            loss = nll + hparams.kl_factor * kl + decay
        current = loss.tolist()
        for i, value in zip(active, current, strict=True):
            history[i].append(value)
        log.debug("step %d: loss %s", step, current)
        if not all(map(math.isfinite, current)):
            raise UpdateError(f"layer {layer}: the loss is not a number at step {step}; the model may have collapsed")
        for i, on_top in zip(active, best.tolist(), strict=True):
            patience[i] -= on_top
        going = [j for j, value in enumerate(current) if value >= ENOUGH and patience[active[j]] > 0]
        if final or not going:
            break
        loss[going].sum().backward()
        for j in going:
            i = active[j]
            adams[i].step()
            adams[i].zero_grad()
            with torch.no_grad():
                limit = hparams.clamp_norm_factor * norms[i]
                if deltas[i].norm() > limit:
                    deltas[i].mul_(limit / deltas[i].norm())
        if len(going) < len(active):
            tail.take([r for r, owner in enumerate(owners) if owner in going])
            active, start = [active[j] for j in going], start[going]
            left = [tasks[i] for i in active]
            reading, owners = Reading(model, left), _owners(left)
    return [
        Value(value, delta.detach(), key, tuple(losses))
        for value, delta, key, losses in zip(before, deltas, keys, history, strict=True)
    ]


def _owners(tasks: Sequence[Asked]) -> list[int]:
    """Index of the task that each row belongs to."""
    return [i for i, task in enumerate(tasks) for _ in task.rows]
