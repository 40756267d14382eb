"""ROME: a rank-one change of one MLP (Meng et al. 2022, "Locating and Editing Factual Associations in GPT").

The MLP's output projection W is an associative memory from keys to values. With the key k* of a subject (the input of W
at the subject's last token, averaged over context prefixes) and a value v* that makes the model say the target,

    dW = (v* - W k) u^T / (u . k),    u = C^-1 k* / |C^-1 k*|    (eq. 2)

where k is the key at the bare prompt and C the covariance of keys (identity without `mom2_adjustment`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pydantic

from rect.editors.value_search.hparams import KeyValueEditor, ValueHparams

if TYPE_CHECKING:
    from rect.facts import Fact
    from rect.model import EditableModel
    from rect.update import Update


class RomeHparams(ValueHparams):
    """Hyperparameters of ROME; `layers` is the one edited layer."""

    method: ClassVar[str] = "rome"

    layers: tuple[int] = pydantic.Field()

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """A sixth of the way up, where the known models of the Llama and GPT-J families have it."""
        return {"layers": [max(min(round(n_layers / 6), n_layers - 2), 0)]}


class Rome(KeyValueEditor):
    """The ROME editor: one fact, one layer, an update of rank one."""

    name = "rome"
    version = "1"
    batch = False
    hparams_class = RomeHparams

    def _compute(self, model: EditableModel, facts: list[Fact]) -> Update:
        from rect.editors.value_search.search import optimize
        from rect.update import LowRank, Update

        layer = self.hparams.layers[0]
        name = model.mlp_out_name(layer)
        (value,) = optimize(
            model, facts, self.prefixes.templates, self.hparams, layer, self.loss_layer(model), from_mlp=True
        )
        u = value.keys.mean(0)  # (inner,)
        if self.covariance is not None:
            u = self.covariance.solve(layer, u[:, None].double())[:, 0].to(u)
        u = u / u.norm()
        v = value.delta / (value.keys[0] @ u)  # (hidden,); keys[0] is k at the bare prompt, delta is v* - W k
        left, right = (u, v) if model.architecture.transposed else (v, u)
        losses = {"losses": [value.losses]}
        provenance = {"editor": self.identity(), "facts": [fact.model_dump() for fact in facts], **losses}
        return Update({name: LowRank(left[:, None], right[None, :])}, provenance)
