"""MEMIT's keys and values: the prompts of all facts go up through the blocks once, with the edits made so far."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rect.editors.value_search.blocks import Blocks
from rect.facts import Fact
from rect.model import EditableModel
from rect.prompts import edit_rows

TOKENS = 4096  # that go up together at most
WASTE = 0.1


class Rise:
    """The prompts of all facts on their way up through the blocks, with the edits made so far.

    Holds the hidden states of all prompts up to the subject's last token: contexts x tokens x hidden per fact.
    """

    def __init__(
        self, model: EditableModel, facts: Sequence[Fact], templates: Sequence[str], layers: Sequence[int]
    ) -> None:
        self.model, self.layers, self.facts, self.contexts = model, layers, len(facts), len(templates)
        rows = [row.ids[: row.lookup + 1] for fact in facts for row in edit_rows(model.tokenizer, fact, templates)]
        self.blocks = Blocks(model, max(rows, key=len), layers[-1])
        self.bare = [i for i in range(len(rows)) if i % self.contexts == 0]
        self.runs = []
        for indices in alike(list(map(len, rows)), TOKENS):
            chosen = [rows[i] for i in indices]
            self.runs.append(Run(indices, list(map(len, chosen)), self.blocks.enter(chosen)))
        self.at = 0  # the block whose input is held
        self.edits = contextlib.ExitStack()

    def __enter__(self) -> Rise:
        return self

    def __exit__(self, *_: object) -> None:
        self.edits.close()

    @torch.no_grad()
    def look(self, layer: int) -> tuple[Tensor, Tensor]:
        """The facts' keys at a layer, (facts, dimension), and values at the last edited block, (facts, hidden)."""
        while self.at < layer:
            for run in self.runs:
                run.hidden = self.blocks.run(run.hidden, self.at)
            self.at += 1
        keys: dict[int, Tensor] = {}
        values: dict[int, Tensor] = {}
        for run in self.runs:
            seen: list[Tensor] = []
            projection = self.model.module(self.model.path(self.model.architecture.mlp_out, layer))
            with projection.register_forward_pre_hook(lambda _m, inputs, seen=seen: seen.append(inputs[0])):
                hidden = self.blocks.run(run.hidden, layer)
            keys |= zip(run.indices, run.last(seen[0]), strict=True)
            which = [j for j, i in enumerate(run.indices) if i % self.contexts == 0]  # the bare prompts
            if which:
                part = run.part(hidden, which)
                for later in range(layer + 1, self.layers[-1] + 1):
                    part.hidden = self.blocks.run(part.hidden, later)
                values |= zip(part.indices, part.last(part.hidden), strict=True)
        grouped = torch.stack([keys[i] for i in range(len(keys))]).view(self.facts, self.contexts, -1)
        bare = grouped[:, 0]
        mean = bare if self.contexts == 1 else (bare + grouped[:, 1:].mean(1)) / 2
        return mean, torch.stack([values[i] for i in self.bare])

    def edit(self, layer: int, left: Tensor, right: Tensor) -> None:
        """From now on the layer's projection is W + left right^T: (hidden, facts), (dimension, facts)."""

        def add(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output + (inputs[0].float() @ right @ left.T).to(output.dtype)

        projection = self.model.module(self.model.path(self.model.architecture.mlp_out, layer))
        self.edits.enter_context(projection.register_forward_hook(add))


class Run:
    """Rows that go up together.

    Args:
        indices: which rows.
        lengths: of each.
        hidden: their hidden states, (rows, positions, hidden); what is behind a row's end means nothing.
    """

    def __init__(self, indices: Sequence[int], lengths: Sequence[int], hidden: Tensor) -> None:
        self.indices, self.lengths, self.hidden = indices, lengths, hidden

    def part(self, hidden: Tensor, which: Sequence[int]) -> Run:
        """Some of the rows, with other hidden states."""
        lengths = [self.lengths[j] for j in which]
        return Run([self.indices[j] for j in which], lengths, hidden[list(which), : max(lengths)])

    def last(self, states: Tensor) -> Tensor:
        """States at the last token of each row, the subject's, (rows, n) float32."""
        return states[range(len(states)), [length - 1 for length in self.lengths]].float()


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
