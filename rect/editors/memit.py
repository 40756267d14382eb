"""MEMIT: many facts at once, spread over several MLPs (Meng et al. 2023, "Mass-Editing Memory in a Transformer").

For each fact a vector z is found that, as output of the last edited block at the subject's last token, makes the
unedited model say the target. Then, layer by layer from the lowest, with keys K (dimension, facts) and current values
at the last edited block as they are with the layers below already edited,

    R  = (z - current) / layers left                       (hidden, facts)    (eq. 20)
    dW = R adj^T,   adj = (lambda C + K K^T)^-1 K          (dimension, facts) (eq. 14)

A fact's key is the mean over two groups of contexts, the bare prompt and all the others, of the mean in the group.
Updates stay in factors of rank facts, where those are smaller than the matrix. The weights are not touched on the way:
edits below are added as products of factors while the prompts, kept at the input of the layer that was reached, go up
through the blocks once.

A family with a norm between the MLP's output and the residual stream is refused: what comes out of that norm has a
fixed size, so that the residual does not arrive (nine tenths were lost on Gemma 2 and 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pydantic

from modelfolder.errors import InputError
from rect.editors.value_search.hparams import KeyValueEditor, ValueHparams

if TYPE_CHECKING:
    from torch import Tensor

    from rect.covariance import Covariance
    from rect.editors.value_search.search import Value
    from rect.facts import Fact
    from rect.model import EditableModel
    from rect.update import Dense, LowRank, Update


class MemitHparams(ValueHparams):
    """Hyperparameters of MEMIT.

    Attributes:
        layers: the edited layers, ascending; z is found at the last.
        layer_selection: all of them.
        mom2_update_weight: lambda.
        mom2_adjustment: use the covariance C; if false, C is the identity times the mean square of the batch's keys.
        context_template_length_params: five prefixes of ten tokens, as the released code draws; its files have no key.
    """

    method: ClassVar[str] = "memit"

    layer_selection: Literal["all"] = "all"
    context_template_length_params: tuple[tuple[int, int], ...] = ((10, 5),)
    mom2_update_weight: float = pydantic.Field(15_000.0, gt=0)

    @pydantic.field_validator("layers")
    @classmethod
    def _ascending(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        if list(layers) != sorted(set(layers)):
            raise ValueError("layers must ascend")
        return layers

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """Five layers from an eighth of the way up, as in LLaMA 7B."""
        first = min(round(n_layers / 8), max(n_layers - 3, 0))
        return {"layers": list(range(first, max(min(first + 5, n_layers - 1), first + 1)))}


class Memit(KeyValueEditor):
    """The MEMIT editor: any number of facts, several layers."""

    name = "memit"
    version = "2"
    batch = True
    hparams_class = MemitHparams

    hparams: MemitHparams

    @classmethod
    def build(cls, model: EditableModel, hparams: Any, prefixes: Any, covariance: Any) -> Self:
        if model.architecture.mlp_norm is not None:
            raise InputError(
                f"memit: {model.name} ({model.hf.config.model_type}) has a norm behind each MLP, so that no change of "
                f"its output projection moves the block's output by MEMIT's residual; rome, kn and mend edit it"
            )
        return super().build(model, hparams, prefixes, covariance)

    def _compute(self, model: EditableModel, facts: list[Fact]) -> Update:
        import torch

        from rect.update import Update

        values = self.values(model, facts)
        z = torch.stack([value.target for value in values])  # (facts, hidden)
        provenance = {
            "editor": self.identity(),
            "facts": [fact.model_dump() for fact in facts],
            "losses": [value.losses for value in values],
        }
        return Update(self.distribute(model, facts, z), provenance)

    def values(self, model: EditableModel, facts: Sequence[Fact]) -> list[Value]:
        """The vectors z of some facts, at the output of the last edited block of the model as it stands."""
        from rect.editors.value_search.search import optimize

        layer = self.hparams.layers[-1]
        return optimize(
            model, facts, self.prefixes.templates, self.hparams, layer, self.loss_layer(model), from_mlp=False
        )

    def distribute(self, model: EditableModel, facts: Sequence[Fact], z: Tensor) -> dict[str, LowRank | Dense]:
        """The updates, by parameter name, that bring the last edited block's output to z.

        Args:
            model: the model that z was found on.
            facts: the facts.
            z: their vectors, (facts, hidden).
        """

        from rect.editors.value_search.rise import Rise
        from rect.update import product

        layers = self.hparams.layers
        entries: dict[str, LowRank | Dense] = {}
        with Rise(model, facts, self.prefixes.templates, layers) as rise:
            for i, layer in enumerate(layers):
                keys, current = rise.look(layer)
                residual = (z - current).T.double() / (len(layers) - i)  # (hidden, facts)
                adjusted = spread(keys.T.double(), self.hparams.mom2_update_weight, layer, self.covariance)
                left, right = residual.float(), adjusted.float()
                entry = product(right, left.T) if model.architecture.transposed else product(left, right.T)
                entries[model.mlp_out_name(layer)] = entry
                rise.edit(layer, left, right)
        return entries


def spread(keys: Tensor, weight: float, layer: int, covariance: Covariance | None) -> Tensor:
    """adj = (lambda C + K K^T)^-1 K in float64.

    Where there are fewer facts than half the dimensions, by the Woodbury identity from the factor of C, which the
    covariance keeps: with X = (lambda C)^-1 K it is X (I + K^T X)^-1.

    Args:
        keys: K, (dimension, facts), float64.
        weight: lambda.
        layer: whose C.
        covariance: None for C = identity * mean square of K.

    Returns:
        (dimension, facts)
    """
    import torch

    from rect.update import UpdateError

    dimension, facts = keys.shape
    if covariance is None:
        x = keys / (weight * keys.square().mean())
    elif facts < dimension / 2:
        x = covariance.solve(layer, keys) / weight
    else:
        c = covariance.matrix(layer).to(keys)
        factor, info = torch.linalg.cholesky_ex(weight * c + keys @ keys.T)
        if info:
            raise UpdateError(f"memit: lambda C + K K^T of layer {layer} cannot be factored: C or the keys are broken")
        return torch.cholesky_solve(keys, factor)
    inner = torch.eye(facts, dtype=keys.dtype, device=keys.device) + keys.T @ x
    return torch.linalg.solve(inner.T, x.T).T
