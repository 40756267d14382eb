"""MEMIT: many facts at once, spread over several MLPs (Meng et al. 2023, "Mass-Editing Memory in a Transformer").

For each fact a vector z is found that, as output of the last edited block at the subject's last token, makes the
unedited model say the target. Then, layer by layer from the lowest, with keys K (dimension, facts) and current values
at the last edited block as they are with the layers below already edited,

    R  = (z - current) / layers left                       (hidden, facts)    (eq. 20)
    dW = R adj^T,   adj = (lambda C + K K^T)^-1 K          (dimension, facts) (eq. 14)

adj is `rect.closed_form`, of which other methods are other settings: each is a class with another `prior`.

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
from rect.history import KEYS, History

if TYPE_CHECKING:
    from torch import Tensor

    from rect.closed_form import Prior
    from rect.facts import Fact
    from rect.model import EditableModel
    from rect.update import Dense, LowRank, Update


class SpreadHparams(ValueHparams):
    """Hyperparameters of the methods that spread an edit over several layers.

    Attributes:
        layers: the edited layers, ascending; z is found at the last.
        layer_selection: all of them.
        context_template_length_params: five prefixes of ten tokens, as the released code draws; its files have no key.
    """

    layer_selection: Literal["all"] = "all"
    context_template_length_params: tuple[tuple[int, int], ...] = ((10, 5),)

    @pydantic.field_validator("layers")
    @classmethod
    def _ascending(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        if list(layers) != sorted(set(layers)):
            raise ValueError("layers must ascend")
        return layers

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """Up to five layers from an eighth of the way up, as in LLaMA 7B."""
        first = min(round(n_layers / 8), max(n_layers - 3, 0))
        return {"layers": list(range(first, max(min(first + 5, n_layers - 1), first + 1)))}


class MemitHparams(SpreadHparams):
    """Hyperparameters of MEMIT.

    Attributes:
        mom2_update_weight: lambda.
        mom2_adjustment: use the covariance C; if false, C is the identity times the mean square of the batch's keys.
    """

    method: ClassVar[str] = "memit"

    mom2_update_weight: float = pydantic.Field(15_000.0, gt=0)


class Memit(KeyValueEditor):
    """The MEMIT editor: any number of facts, several layers."""

    name = "memit"
    version = "2"
    batch = True
    hparams_class: ClassVar[type[ValueHparams]] = MemitHparams

    hparams: Any

    @classmethod
    def build(cls, model: EditableModel, hparams: Any, prefixes: Any, covariance: Any) -> Self:
        if model.architecture.mlp_norm is not None:
            raise InputError(
                f"{cls.name}: {model.name} ({model.hf.config.model_type}) has a norm behind each MLP, so no change of "
                f"its output projection moves the block's output by the residual; rome, kn and mend edit it"
            )
        return super().build(model, hparams, prefixes, covariance)

    def _compute(self, model: EditableModel, facts: list[Fact], history: History) -> Update:
        import torch

        values = self.values(model, facts)
        z = torch.stack([value.target for value in values])  # (facts, hidden)
        update = self.distribute(model, facts, z, history)
        update.provenance = {"losses": [value.losses for value in values]}
        return update

    def prior(self, layer: int, keys: Tensor) -> Prior:
        """lambda C + mu I and P of a layer; the operation's keys are (dimension, facts)."""
        from rect.closed_form import Prior

        weight = self.hparams.mom2_update_weight
        if self.covariance is None:
            return Prior(weight, scale=keys.square().mean())
        return Prior(weight, covariance=self.covariance.of(layer))

    def distribute(
        self, model: EditableModel, facts: Sequence[Fact], z: Tensor, history: History | None = None
    ) -> Update:
        """The update that brings the last edited block's output to z; it carries the keys that it was solved for.

        Args:
            model: the model that z was found on.
            facts: the facts.
            z: their vectors, (facts, hidden).
            history: of the earlier operations, where the method remembers them.
        """

        from rect.closed_form import adjusted
        from rect.editors.value_search.rise import Rise
        from rect.update import Update, UpdateError, outer

        layers = self.hparams.layers
        entries: dict[str, LowRank | Dense] = {}
        memory: dict[str, dict[str, Tensor]] = {}
        with Rise(model, facts, self.prefixes.templates, layers) as rise:
            for i, layer in enumerate(layers):
                keys, current = rise.look(layer)
                name, k = model.mlp_out_name(layer), keys.T.double()  # (dimension, facts)
                past = None
                if self.remembers and history is not None:
                    past = history.past(name, len(k))
                residual = (z - current).T.double() / (len(layers) - i)  # (hidden, facts)
                try:
                    right = adjusted(k, self.prior(layer, k), None if past is None else past.to(k)).float()
                except UpdateError as error:
                    raise UpdateError(f"{self.name}: layer {layer}: {error}") from None
                left = residual.float()
                entries[name] = outer(left, right, model.architecture.transposed)
                memory[name] = {KEYS: keys}
                rise.edit(layer, left, right)
        return Update(entries, memory=memory)
