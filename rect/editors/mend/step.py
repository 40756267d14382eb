"""One edit by a hypernetwork, and what it costs: the losses of MEND (Mitchell et al. 2022, section 3.2).

    L = cedit * L_e + cloc * L_loc
    L_e   = mean over target tokens of -log P_edited(target | rephrasing); of the edit prompt where there is none
    L_loc = mean over tokens of KL(P || P_edited) on prompts out of scope

Edits of several facts add up: the gradient is that of the sum of the facts' own losses (each the mean over its target
tokens), so the tokens of each fact enter the hypernetwork as if the fact were alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rect.editors.mend.data import NOTHING, Example, Rows
from rect.editors.mend.hypernetwork import Hypernetwork, Pair
from rect.editors.mend.upper import State, Upper
from rect.editors.value_search.losses import read_logits
from rect.model import EditableModel


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an edit did.

    Attributes:
        edit, locality: the two losses, as in the release: the mean negative log-likelihood of all target tokens of the
            rephrasings (of the edit prompt where a fact has none), and the mean KL over the tokens out of scope.
        reliability, generalization: share of target tokens that are the argmax, on edit prompts and on rephrasings (not
            a number without one).
        kept: share of the tokens out of scope whose argmax is as before.
    """

    edit: Tensor
    locality: Tensor
    reliability: float
    generalization: float
    kept: float

    def total(self, cedit: float, cloc: float) -> Tensor:
        return cedit * self.edit + cloc * self.locality


class Editing:
    """A hypernetwork at work on a model.

    Args:
        model: only read.
        network: the hypernetwork.
        mixed_precision: bfloat16 autocast of the language model, on CUDA only.
        remember: bytes of what enters the upper blocks that are kept for rows that come again; the model must then stay
            as it is.
    """

    def __init__(
        self, model: EditableModel, network: Hypernetwork, mixed_precision: bool = False, remember: int = 0
    ) -> None:
        self.model, self.network = model, network
        self.upper = Upper(model, list(network.matrices))
        self._mixed = mixed_precision and model.device.type == "cuda"
        self._known: dict[tuple[tuple[int, ...], ...], State] = {}
        self._room = remember

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision of the language model."""
        return torch.autocast("cuda", torch.bfloat16) if self._mixed else contextlib.nullcontext()

    def gradients(self, rows: Rows, state: State | None = None) -> dict[str, Pair]:
        """The gradient of the rows' losses, taken apart, per matrix: inputs (tokens, in), deltas (tokens, out)."""
        with self.model.lock, self.autocast(), self.upper.recorded() as recording:
            hidden = self.upper.run(self.upper.read(rows.ids) if state is None else state)
            loss = per_row(self._logits(hidden, rows), rows).sum()
            return recording.gradients(loss)

    def step(self, example: Example) -> Outcome:
        """Edit, and look at what came of it. The losses have gradients for the hypernetwork where grad is enabled."""
        with self.model.lock:
            return self._step(example)

    def _step(self, example: Example) -> Outcome:
        parts = [example.edit, *([] if example.rephrased is None else [example.rephrased]), example.locality]
        ends = list(itertools.accumulate(len(rows) for rows in parts))
        slices = [slice(end - len(rows), end) for end, rows in zip(ends, parts, strict=True)]
        with self.autocast(), torch.no_grad():
            state = self._read(_together(parts))
            before = self._logits(self.upper.run(state.rows(slices[-1])), example.locality)
        factors = self.network(self.gradients(example.edit, state.rows(slices[0])))
        with self.autocast(), self.upper.edited(factors):
            hidden = self.upper.run(state)
            logits = [self._logits(hidden[chosen], rows) for chosen, rows in zip(slices, parts, strict=True)]
        losses, owners = per_token(logits[0], example.edit)
        asked = [losses[torch.isin(owners, torch.tensor(example.only, device=owners.device))]]
        if example.rephrased is not None:
            asked.append(per_token(logits[1], example.rephrased)[0])
        earlier, after = before.log_softmax(-1), logits[-1].log_softmax(-1)
        return Outcome(
            edit=torch.cat(asked).mean(),
            locality=(earlier.exp() * (earlier - after)).sum(-1).mean(),
            reliability=_right(logits[0], parts[0]),
            generalization=float("nan") if example.rephrased is None else _right(logits[1], parts[1]),
            kept=float((before.argmax(-1) == after.argmax(-1)).float().mean()),
        )

    def _read(self, ids: Tensor) -> State:
        """What enters the upper blocks, from memory if it is there."""
        key = tuple(map(tuple, ids.tolist()))
        if key not in self._known:
            state = self.upper.read(ids)
            size = state.hidden.nbytes
            if size > self._room:
                return state
            self._room -= size
            self._known[key] = state
        return self._known[key]

    def _logits(self, hidden: Tensor, rows: Rows) -> Tensor:
        """Logits where something is asked, or at all real tokens where nothing is, (positions, vocabulary), float32."""
        asked = rows.targets != NOTHING
        read = asked if bool(asked.any()) else rows.real
        return read_logits(self.model, hidden[:, : rows.ids.shape[1]][read]).float()


def _together(parts: Sequence[Rows]) -> Tensor:
    """The tokens of all parts, (rows, positions of the longest)."""
    width = max(rows.ids.shape[1] for rows in parts)
    return torch.cat([F.pad(rows.ids, (0, width - rows.ids.shape[1])) for rows in parts])


def per_token(logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of each target token, and the row that it is of, (target tokens,) both."""
    asked = rows.targets != NOTHING  # (rows, positions)
    return F.cross_entropy(logits, rows.targets[asked], reduction="none"), asked.nonzero()[:, 0]


def per_row(logits: Tensor, rows: Rows) -> Tensor:
    """Mean negative log-likelihood of each row's target tokens, (rows,)."""
    each, owner = per_token(logits, rows)
    return each.new_zeros(len(rows)).index_add(0, owner, each) / (rows.targets != NOTHING).sum(1)


def _right(logits: Tensor, rows: Rows) -> float:
    return float((logits.argmax(-1) == rows.targets[rows.targets != NOTHING]).float().mean())
