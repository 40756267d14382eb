"""Knowledge attribution: how much each MLP neuron of each layer adds to the probability of an answer token.

Dai et al. 2022 ("Knowledge Neurons in Pretrained Transformers", eq. 4 and 5) integrate the gradient along the straight
path that scales all neurons of one layer, at the prompt's last position, from 0 to their values a:

    score_i = a_i / m * sum over s = 1..m of dP(answer | alpha_s * a) / d a_i,    alpha = m points from 0 to 1

The ends of the path are among the points, as in the released code (one point is alpha = 0). Summed over the neurons of
a layer, the scores approach P(a) - P(0) as m grows (completeness).

Two facts make this cheap, and both are exact. The scaled position is the last one, so keys and values of all earlier
positions stay what they are: they are computed once. And nothing before the scaled layer changes, so a row, one point
of one layer's path, joins the batch only at its layer. Memory is bounded by the number of rows in one pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import torch
import transformers
from torch import Tensor, nn

from rect.model import EditableModel

Neurons: TypeAlias = Literal["activation", "projection"]
"""What is scaled: the input of the MLP's output projection (the paper), or the output of its first input projection,
before the nonlinearity (what the released code hooks in GPT-2 and Llama: `c_fc`, `gate_proj`)."""


def greedy(model: EditableModel, ids: Sequence[int], n: int) -> list[int]:
    """The n most likely tokens after some tokens, one after the other; an end of sequence is one like others."""
    tokens = list(ids)
    for _ in range(n):
        with torch.no_grad():
            logits = model.hf(torch.tensor([tokens], device=model.device), use_cache=False, logits_to_keep=1).logits
        tokens.append(int(logits[0, -1].argmax()))
    return tokens[len(ids) :]


def scores(
    model: EditableModel,
    ids: Sequence[int],
    answer: Sequence[int],
    steps: int,
    rows_per_pass: int,
    neurons: Neurons = "activation",
) -> Tensor:
    """Scores of all neurons for an answer of one or more tokens.

    Token i of the answer is looked for after the prompt and the i tokens that the model itself says there; the scores
    are averaged over the tokens (the released code's way).

    Args:
        model: only read.
        ids: tokens of the prompt.
        answer: tokens of the answer.
        steps: points on the path.
        rows_per_pass: how many points, of all layers, are computed together.
        neurons: which neurons.

    Returns:
        (layers, inner size), float32
    """
    said = greedy(model, ids, len(answer) - 1)
    each = [
        token_scores(model, [*ids, *said[:i]], token, steps, rows_per_pass, neurons) for i, token in enumerate(answer)
    ]
    return torch.stack(each).mean(0)


def token_scores(
    model: EditableModel, ids: Sequence[int], token: int, steps: int, rows_per_pass: int, neurons: Neurons
) -> Tensor:
    """Scores of all neurons for the probability of one next token, (layers, inner size), float32."""
    before = _Earlier()
    tokens = torch.tensor([list(ids)], device=model.device)  # (1, positions)
    if len(ids) > 1:
        with torch.no_grad():
            model.hf.base_model(tokens[:, :-1], past_key_values=before, use_cache=True)
    before.frozen = True
    points = [(layer, step) for layer in range(model.n_layers) for step in range(steps)]
    alphas = torch.linspace(0, 1, steps, device=model.device)
    total: dict[int, Tensor] = {}
    for first in range(0, len(points), rows_per_pass):
        part: dict[int, list[int]] = {}
        for layer, step in points[first : first + rows_per_pass]:
            part.setdefault(layer, []).append(step)
        batch = _Pass(model, {layer: alphas[chosen] for layer, chosen in part.items()}, neurons)
        for layer, gradient in batch.run(tokens[:, -1:], before, token).items():
            score = batch.values[layer].float() * gradient.float().sum(0) / steps
            total[layer] = total[layer] + score if layer in total else score
    return torch.stack([total[layer] for layer in range(model.n_layers)])


class _Earlier(transformers.DynamicCache):
    """Keys and values of the earlier positions, one row; when `frozen` they are put before any number of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.frozen:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        if layer_idx >= len(self.layers):  # a prompt of one token
            return key_states, value_states
        layer: Any = self.layers[layer_idx]
        rows = len(key_states)
        keys, values = (t.expand(rows, -1, -1, -1) for t in (layer.keys, layer.values))
        return torch.cat([keys, key_states], 2), torch.cat([values, value_states], 2)


class _Pass:
    """One forward and backward pass over the last position. Row 0 is the unscaled one; a layer's rows join it there.

    Args:
        model: only read.
        alphas: factors per layer, (rows of the layer,).
        neurons: which neurons.

    Attributes:
        values: the unscaled neurons of each layer, (inner size,).
    """

    def __init__(self, model: EditableModel, alphas: dict[int, Tensor], neurons: Neurons) -> None:
        self.model, self.alphas, self.neurons = model, alphas, neurons
        self.values: dict[int, Tensor] = {}
        self.scaled: dict[int, Tensor] = {}

    def run(self, last: Tensor, before: _Earlier, token: int) -> dict[int, Tensor]:
        """Gradient of the token's probability for the scaled neurons, {layer: (rows of the layer, inner size)}."""
        with self._hooks(), torch.enable_grad():
            logits = self.model.hf(last, past_key_values=before, use_cache=True).logits[1:, -1]
            probability = logits.float().softmax(-1)[:, token]  # (rows,)
        layers = list(self.scaled)
        gradients = torch.autograd.grad(probability.sum(), [self.scaled[layer] for layer in layers])
        return dict(zip(layers, gradients, strict=True))

    @contextlib.contextmanager
    def _hooks(self) -> Iterator[None]:
        model, parts = self.model, self.model.architecture
        with contextlib.ExitStack() as hooks:
            for layer, alphas in self.alphas.items():
                enter = model.block(layer).register_forward_pre_hook(_joining(len(alphas)), with_kwargs=True)
                hooks.callback(enter.remove)
                path = parts.mlp_out if self.neurons == "activation" else parts.mlp_in[0]
                projection = model.module(model.path(path, layer))
                if self.neurons == "activation":
                    handle = projection.register_forward_pre_hook(lambda _, x, at=layer: self._scale(at, x[0]))
                else:
                    handle = projection.register_forward_hook(lambda _, __, y, at=layer: self._scale(at, y))
                hooks.callback(handle.remove)
            yield

    def _scale(self, layer: int, neurons: Tensor) -> Tensor:
        """Put the points of the path in place of a layer's own rows, which are the last ones, (rows, 1, inner size)."""
        alphas = self.alphas[layer]
        self.values[layer] = neurons[0, -1].detach()
        scaled = alphas[:, None].to(neurons.dtype) * self.values[layer]  # (rows of the layer, inner size)
        self.scaled[layer] = scaled.requires_grad_()
        return torch.cat([neurons[: -len(alphas)], self.scaled[layer][:, None]])


def _joining(rows: int) -> Any:
    """A hook that lets copies of row 0 join the batch before a block."""

    def hook(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]  # (rows so far, 1, hidden)
        more = torch.cat([hidden, hidden[:1].expand(rows, -1, -1)])
        return ((more, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": more})

    return hook
