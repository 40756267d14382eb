"""How rows of tokens lie while blocks run over them: padded, or with what they have in common but once.

What a token's hidden states are depends on the tokens before it alone. Rows of an edit begin alike (all facts have the
same context prefixes, many prompts the same first words), so where attention is ours (`attention`), each distinct
beginning is computed once; only attention itself sees whole rows. Elsewhere rows are padded on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rect.editors.value_search.attention import Packing, applies
from rect.editors.value_search.calls import Call, axis, beginning, each

if TYPE_CHECKING:
    from rect.model import EditableModel

WASTE = 0.1


class Padded:
    """Hidden states lie as (rows, steps, hidden).

    Args:
        rows: the tokens of each row.
        device: of the hidden states.
    """

    def __init__(self, rows: Sequence[Sequence[int]], device: torch.device) -> None:
        self.rows, self.device = rows, device
        self.steps = max(map(len, rows))

    def pack(self, padded: Tensor) -> Tensor:
        """(rows, steps, ...) -> as they lie."""
        return padded

    def spread(self, lying: Tensor) -> Tensor:
        """As they lie -> (rows, steps, ...)."""
        return lying

    def at(self, lying: Tensor, positions: Tensor) -> Tensor:
        """Some positions of each row, (rows, n), of hidden states: (rows, n, hidden)."""
        return lying[torch.arange(len(positions), device=self.device)[:, None], positions]

    def part(self, lying: Tensor, which: Sequence[int], lengths: Sequence[int]) -> tuple[Padded, Tensor]:
        """The first positions, as many as `lengths` says, of the rows `which`: how they lie, and where they lie so."""
        new = Padded([self.rows[i][:n] for i, n in zip(which, lengths, strict=True)], self.device)
        return new, lying[list(which), : new.steps]

    def arguments(self, call: Call, length: int) -> Call:
        """What a block is called with beside hidden states that lie so; `call` is that of one row of some length."""
        return beginning(call, length, self.steps)


class Shared(Packing):
    """Hidden states lie as (1, distinct beginnings, hidden); methods as in `Padded`.

    Args:
        rows: the tokens of each row.
        device, dtype: of the hidden states.
    """

    def __init__(self, rows: Sequence[Sequence[int]], device: torch.device, dtype: torch.dtype) -> None:
        self.rows, self.device, self.dtype = rows, device, dtype
        self.steps = max(map(len, rows))
        nodes: dict[tuple[int, int], int] = {}  # of a beginning, by the node of the one before it and its last token
        self._nodes = torch.zeros(len(rows), self.steps, dtype=torch.long)
        places, depths = [], []
        for row, tokens in enumerate(rows):
            node = -1
            for depth, token in enumerate(tokens):
                known = len(nodes)
                node = nodes.setdefault((node, token), known)
                if node == known:
                    places.append(row * self.steps + depth)
                    depths.append(depth)
                self._nodes[row, depth] = node
        self._nodes = self._nodes.to(device)  # (rows, steps)
        self._places, self._depths = torch.tensor(places, device=device), torch.tensor(depths, device=device)

    def spread(self, packed: Tensor) -> Tensor:
        return packed[0].index_select(0, self._nodes.flatten()).unflatten(0, self._nodes.shape)

    def at(self, lying: Tensor, positions: Tensor) -> Tensor:
        return lying[0, self._nodes.gather(1, positions)]

    def part(self, lying: Tensor, which: Sequence[int], lengths: Sequence[int]) -> tuple[Shared, Tensor]:
        new = Shared([self.rows[i][:n] for i, n in zip(which, lengths, strict=True)], self.device, self.dtype)
        rows = torch.tensor(list(which), device=self.device)[new._places // new.steps]
        return new, lying[:, self._nodes[rows, new._places % new.steps]]

    def arguments(self, call: Call, length: int) -> Call:
        call = beginning(call, length, self.steps)
        mask = call.pop("attention_mask", None)
        if mask is None:
            mask = torch.ones(1, 1, self.steps, self.steps, dtype=torch.bool, device=self.device).tril()
        seen = mask if mask.dtype == torch.bool else mask >= 0

        def chosen(name: str, tensor: Tensor) -> Tensor:
            return tensor.index_select(axis(name, tensor, self.steps), self._depths)

        lying = {name: each(value, lambda tensor, name=name: chosen(name, tensor)) for name, value in call.items()}
        added = torch.zeros(seen.shape, dtype=self.dtype, device=self.device)
        added.masked_fill_(~seen, torch.finfo(self.dtype).min)
        return {**lying, "attention_mask": added, "packing": self}


Layout = Padded | Shared


def padded_ids(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """The tokens, padded on the right with each row's own last one, (rows, steps)."""
    steps = max(map(len, rows))
    return torch.tensor([[*row, *[row[-1]] * (steps - len(row))] for row in rows], device=device)


def layout(model: EditableModel, rows: Sequence[Sequence[int]]) -> Layout:
    """How rows lie best for a model."""
    return Shared(rows, model.device, model.dtype) if applies(model.hf) else Padded(rows, model.device)


def runs(model: EditableModel, rows: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Indices of rows to be run together, of about `tokens` positions in each run."""
    if not applies(model.hf):
        return alike(list(map(len, rows)), tokens)
    found: list[list[int]] = []
    size = max(1, tokens // max(map(len, rows)))
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))  # what begins alike comes together
    for start in range(0, len(order), size):
        found.append(order[start : start + size])
    return found


def alike(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices of rows in runs of similar length, of which padding makes up at most WASTE; the longest run last.

    Args:
        lengths: of the rows.
        tokens: how many positions a run may hold, padding included.
    """
    runs: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if runs:
            full = lengths[runs[-1][0]] * (len(runs[-1]) + 1)
            if real + lengths[index] >= (1 - WASTE) * full and full <= tokens:
                runs[-1].append(index)
                real += lengths[index]
                continue
        runs.append([index])
        real = lengths[index]
    return runs[::-1]
