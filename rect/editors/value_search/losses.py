"""What the loss of some facts reads from the output of the later layers: log-likelihood of targets, and KL.

Logits of all positions at once would be the largest tensors of an optimization by far (positions x vocabulary, several
times over). So positions go through the head in pieces: each piece's loss is differentiated with regard to its logits
by formula, with regard to its states by autograd, and its logits are let go before the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rect.forcing import apply_head
from rect.model import EditableModel
from rect.prompts import Row

PIECE = 2**24  # logits


@dataclasses.dataclass(frozen=True)
class Asked:
    """The rows of one fact.

    Attributes:
        rows: the rows, which stand one after the other.
        contexts: how many of them, the first ones, ask for their targets.
        kl: index of the row whose next token at the subject is to stay as it is.
    """

    rows: tuple[Row, ...]
    contexts: int
    kl: int


class Reading:
    """The positions that the loss of some facts reads, and their losses.

    Args:
        model: whose final norm and head are applied.
        facts: the rows of the facts, in the order of the hidden states' rows.
    """

    def __init__(self, model: EditableModel, facts: Sequence[Asked]) -> None:
        rows: list[int] = []
        columns: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        owners: list[int] = []
        kl_rows: list[int] = []
        start = 0
        for owner, fact in enumerate(facts):
            for i, row in enumerate(fact.rows[: fact.contexts]):
                n = len(row.targets)
                first = row.length - n - row.lookup
                rows += [start + i] * n
                columns += range(first, first + n)
                targets += row.targets
                weights += [1 / (n * fact.contexts)] * n
                owners += [owner] * n
            kl_rows.append(start + fact.kl)
            start += len(fact.rows)
        self.model, self.facts = model, len(facts)
        self._rows = torch.tensor([*rows, *kl_rows], device=model.device)
        self._columns = torch.tensor([*columns, *[0] * len(facts)], device=model.device)
        self._targets = torch.tensor(targets, device=model.device)
        self._weights = torch.tensor(weights, device=model.device)
        self._owners = torch.tensor(owners, device=model.device)

    def at_subject(self, hidden: Tensor) -> Tensor:
        """Log-probabilities of the token behind the subject, (facts, vocabulary).

        Args:
            hidden: output of the later layers from the lookup position on, (rows, steps, hidden).
        """
        rows, columns = self._rows[-self.facts :], self._columns[-self.facts :]
        with torch.no_grad():
            return read_logits(self.model, hidden[rows, columns]).log_softmax(-1)

    def losses(self, hidden: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Negative log-likelihood and KL(P_delta || P_0) of each fact, and whether all its target tokens, in all
        contexts, are the most likely ones; (facts,) each.

        Args:
            hidden: output of the later layers from the lookup position on, (rows, steps, hidden).
            start: log P_0, of `at_subject` before anything was added, (facts, vocabulary); None if nothing is added
                yet. Then KL and its gradient are exactly 0: rounding would steer Adam, to which size is nothing.
        """
        each, best = _Pieces.apply(hidden[self._rows, self._columns], self, start)
        likely, kl = each.split([len(self._targets), self.facts])
        missed = torch.zeros_like(kl).index_add(0, self._owners, (~best).to(kl))
        return likely.new_zeros(self.facts).index_add(0, self._owners, likely * self._weights), kl, missed == 0

    def piece(self, logits: Tensor, begin: int, start: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Losses of some positions, (positions,), their gradient with regard to the logits, like `logits`, and whether
        the target is the most likely token, of those that have one.

        Args:
            logits: at the positions from `begin` on, (positions, vocabulary).
            begin: index of the first of them.
            start: as in `losses`.
        """
        top = logits.amax(-1, keepdim=True)
        gradient = (logits - top).exp_()  # becomes P, and then the gradient, where it lies
        total = gradient.sum(-1, keepdim=True)
        gradient /= total
        log_total = top + total.log()
        likely = max(0, min(len(self._targets) - begin, len(logits)))  # the first ones; the others are for KL
        targets = self._targets[begin : begin + likely, None]
        wanted = logits[:likely].gather(1, targets)
        nll = (log_total[:likely] - wanted)[:, 0]
        gradient[:likely].scatter_add_(1, targets, gradient.new_full(targets.shape, -1.0))
        above = torch.zeros_like(logits[likely:])  # log P_delta - log P_0
        if start is not None:
            first = begin + likely - len(self._targets)
            above = logits[likely:] - log_total[likely:] - start[first : first + len(above)]
        kl = (gradient[likely:] * above).sum(-1)
        gradient[likely:] *= above - kl[:, None]
        return torch.cat([nll, kl]), gradient, (wanted >= top[:likely])[:, 0]


class _Pieces(torch.autograd.Function):
    """(positions, hidden) -> (positions,): a loss for each position alone, so that its gradient can be kept for it;
    and of those with a target whether it is the most likely token.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, reading: Reading, start: Tensor | None) -> tuple[Tensor, Tensor]:
        losses: list[Tensor] = []
        hits: list[Tensor] = []
        gradients: list[Tensor] = []
        size = max(1, PIECE // len(reading.model.hf.get_output_embeddings().weight))
        for begin in range(0, len(states), size):
            piece = states[begin : begin + size].detach().requires_grad_(ctx.needs_input_grad[0])
            with torch.set_grad_enabled(piece.requires_grad):
                logits = read_logits(reading.model, piece)
            found, gradient, best = reading.piece(logits.detach(), begin, start)
            losses.append(found)
            hits.append(best)
            if piece.requires_grad:
                gradients += torch.autograd.grad(logits, piece, gradient)
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
        right = torch.cat(hits)
        ctx.mark_non_differentiable(right)
        return torch.cat(losses), right

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, None].to(gradient.dtype), None, None


def read_logits(model: EditableModel, hidden: Tensor) -> Tensor:
    """Final norm and head on some positions, (positions, hidden) -> (positions, vocabulary), float32."""
    return apply_head(model, model.module(model.architecture.final_norm)(hidden))
