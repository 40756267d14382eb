"""The UltraEdit editor (Gu et al., TMLR 2026, "UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing").

For each edited matrix its inputs h and the loss' gradients g at its outputs, of all tokens of prompt and target, are
normalized by the mean and the deviation of all rows so far, those of earlier operations included; then

    V = -lr |h^|^2 g^,   dW^T = (H^T H + I)^-1 H^T V

The loss of a fact is the mean negative log-likelihood of its target's tokens; facts add up. |h^|^2 is about the width
of the matrix' inputs, so that a learning rate does not carry over between models.

The released code is left in four things, which are faults there: a deviation is that of all rows, not of how they were
split into passes (there it is 2 to 11% too large, and not a number for good after a pass of one row); each matrix has
statistics of its own (there matrices of one shape share them); padding is not trained on; no row is left out where the
number of facts is no multiple of a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pydantic

from modelfolder.errors import InputError
from rect.editors.base import Editor
from rect.editors.hyperparameters import Hparams
from rect.prompts import continue_with

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rect.editors.ultraedit.shift import Moments
    from rect.facts import Fact
    from rect.history import History
    from rect.model import EditableModel
    from rect.update import Update

TOGETHER = 16  # facts in a pass


class UltraEditHparams(Hparams):
    """Hyperparameters of UltraEdit.

    Attributes:
        gate_layers: layers whose gate is edited: the first of the projections into the MLP.
        up_layers: layers whose other projection into the MLP is edited, the only one where there is no gate.
        down_layers: layers whose projection out of the MLP is edited.
        lr: the learning rate.
    """

    method: ClassVar[str] = "ultraedit"

    gate_layers: tuple[int, ...] = ()
    up_layers: tuple[int, ...] = ()
    down_layers: tuple[int, ...] = ()
    lr: float = pydantic.Field(1e-6, gt=0)

    @pydantic.model_validator(mode="after")
    def _some(self) -> UltraEditHparams:
        if not (self.gate_layers or self.up_layers or self.down_layers):
            raise ValueError("name some gate_layers, up_layers or down_layers")
        return self

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """As far up as in GPT-J and Qwen2.5: from two thirds of the way to the last but one or two."""
        last = min(round(n_layers * 26 / 28), n_layers - 1)
        return {"up_layers": list(range(min(round(n_layers * 18 / 28), last), last + 1))}


class UltraEdit(Editor):
    """The UltraEdit editor: any number of facts, one pass forward and one backward."""

    name = "ultraedit"
    version = "1"
    batch = True
    remembers = True
    hparams_class = UltraEditHparams

    hparams: UltraEditHparams

    @classmethod
    def build(cls, model: EditableModel, hparams: Any, prefixes: Any, covariance: Any) -> UltraEdit:
        editor = cls(hparams)
        editor.names(model)  # raises where there is no such layer
        return editor

    def names(self, model: EditableModel) -> list[str]:
        """The edited matrices.

        Raises:
            InputError: there is no such layer, or the model has no gate.
        """
        h = self.hparams
        if h.gate_layers and len(model.architecture.mlp_in) == 1:
            raise InputError(f"ultraedit: gate_layers: the MLPs of {model.name} have no gate: give up_layers instead")
        gates = [model.mlp_in_names(layer)[0] for layer in h.gate_layers]
        ups = [model.mlp_in_names(layer)[-1] for layer in h.up_layers]
        return [*gates, *ups, *(model.mlp_out_name(layer) for layer in h.down_layers)]

    def _compute(self, model: EditableModel, facts: list[Fact], history: History) -> Update:
        import torch

        from rect.editors.ultraedit.shift import Moments, shift
        from rect.update import Update, outer

        entries, memory = {}, {}
        for name, (keys, gradients) in self.rows(model, facts).items():
            moments = Moments.of(torch.cat([keys, gradients], dim=1))
            before = _earlier(name, history, keys.device)
            moments = moments if before is None else before + moments
            left, right = shift(keys, gradients, moments.mean, moments.deviation, self.hparams.lr)
            entries[name] = outer(left.float(), right.float().T, model.architecture.transposed)
            memory[name] = dict(vars(moments))
        return Update(entries, memory=memory)

    def rows(self, model: EditableModel, facts: list[Fact]) -> dict[str, tuple[Tensor, Tensor]]:
        """Inputs (tokens, in) and gradients at the outputs (tokens, out) of each matrix, fact by fact, in float32."""
        import torch

        from rect.editors.mend.upper import Upper

        upper = Upper(model, self.names(model))
        found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in upper.names}
        for begin in range(0, len(facts), TOGETHER):
            some = facts[begin : begin + TOGETHER]
            texts = [continue_with(model.tokenizer, f.filled, f.target, f.space) for f in some]
            width = max(len(prompt) + len(target) for prompt, target in texts)
            fill = [[*prompt, *target, *[target[-1]] * (width - len(prompt) - len(target))] for prompt, target in texts]
            lengths = torch.tensor([[len(prompt) + len(target)] for prompt, target in texts], device=model.device)
            real = torch.arange(width, device=model.device) < lengths  # (rows, positions)
            with upper.recorded() as recording:
                loss = _loss(model, upper.run(upper.read(torch.tensor(fill, device=model.device))), texts)
                deltas = torch.autograd.grad(loss, list(recording.outputs.values()))
            for (name, keys), delta in zip(recording.inputs.items(), deltas, strict=True):
                found[name].append((keys[real].float(), delta[real].float()))
        return {
            name: (torch.cat([keys for keys, _ in parts]), torch.cat([delta for _, delta in parts]))
            for name, parts in found.items()
        }


def _loss(model: EditableModel, hidden: Tensor, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """The sum over facts of the mean negative log-likelihood of the target's tokens, (,)."""
    import torch

    from rect.editors.value_search.losses import read_logits

    asked = [
        (row, len(prompt) + i - 1, token, 1 / len(target))
        for row, (prompt, target) in enumerate(texts)
        for i, token in enumerate(target)
    ]
    rows, columns, tokens, weights = (torch.tensor(part, device=hidden.device) for part in zip(*asked, strict=True))
    logits = read_logits(model, hidden[rows, columns]).float()
    return torch.nn.functional.cross_entropy(logits, tokens, reduction="none") @ weights


def _earlier(name: str, history: History, device: torch.device) -> Moments | None:
    """What the operations before left of a matrix, on a device; None before the first one.

    Raises:
        InputError: the last one left nothing.
    """
    from rect.editors.ultraedit.shift import Moments

    if not len(history):
        return None
    parts: dict[str, Tensor] = {}
    for part in ("count", "mean", "square"):
        tensor = history.last(name, part)
        if tensor is None:
            raise InputError(f"{name}: the last operation of the history left no moments: it is of another method")
        parts[part] = tensor.to(device)
    return Moments(**parts)
