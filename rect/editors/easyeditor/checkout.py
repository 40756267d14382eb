"""EasyEdit's methods that only newer source has (a checkout, `EASYEDITOR_PATH`), as editors.

AlphaEdit and SPHERE remember: what their modules keep between calls would end with the process of an operation, so the
keys of earlier operations are handed over with each (`rect.history`) and those of the operation come back. P is made of
our covariance. UltraEdit begins its statistics anew in every call, in EasyEdit too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from modelfolder.errors import InputError
from rect.editors.base import Editor
from rect.editors.easyeditor import checkout_hparams as hparams_of
from rect.editors.easyeditor.editor import EasyEditor, EasyEditorMemit, EasyEditorRome
from rect.editors.easyeditor.hparams import EasyEditorHparams

if TYPE_CHECKING:
    import torch

    from rect.facts import Fact
    from rect.history import History
    from rect.model import EditableModel

ATTENTION_OUT = ("self_attn.o_proj", "attn.c_proj", "attn.out_proj", "attention.dense")


class EasyEditorAlphaEdit(EasyEditorMemit):
    """EasyEdit's AlphaEdit.

    Raises:
        InputError: the covariance rests on too few tokens, or the threshold leaves no direction, or all of them.
    """

    name = "easyeditor:AlphaEdit"
    remembers = True
    hparams_class: ClassVar[type[EasyEditorHparams]] = hparams_of.AlphaEdit

    hparams: hparams_of.AlphaEdit

    def values(self, model: EditableModel, facts: Sequence[Fact]) -> dict[str, Any]:
        threshold = self.hparams.nullspace_threshold or 0.0  # its record has one; P is handed over
        return super().values(model, facts) | {"nullspace_threshold": threshold, "P_loc": ""}

    def handed(self, model: EditableModel, history: History) -> dict[str, dict[str, torch.Tensor]]:
        names = [model.mlp_out_name(layer) for layer in self.hparams.layers]
        past = {f"{i}/{name}": keys for name in names for i, keys in enumerate(history.keys(name))}
        projection = {name: self._projection(layer) for name, layer in zip(names, self.hparams.layers, strict=True)}
        return {"projection": projection, "history": past}

    def _projection(self, layer: int) -> torch.Tensor:
        """P, in float32 as EasyEdit has it."""
        assert self.covariance is not None
        share, threshold = self.hparams.nullspace_share, self.hparams.nullspace_threshold
        u = self.covariance.of(layer).null_space(share, threshold)[1]
        if u.shape[1] in (0, len(u)):
            raise InputError(
                f"{self.name}: the null space is {u.shape[1]} of {len(u)} directions at layer {layer}: give a "
                f"nullspace_share, such as 80"
            )
        return (u @ u.T).float()


class EasyEditorSphere(EasyEditorAlphaEdit):
    """EasyEdit's SPHERE: AlphaEdit, whose updates lose the weight's principal directions."""

    name = "easyeditor:SPHERE"
    hparams_class = hparams_of.Sphere


class EasyEditorRRome(EasyEditorRome):
    """EasyEdit's R-ROME."""

    name = "easyeditor:R-ROME"
    hparams_class = hparams_of.RRome


class EasyEditorEmmet(EasyEditorMemit):
    """EasyEdit's EMMET."""

    name = "easyeditor:EMMET"
    hparams_class = hparams_of.Emmet


class EasyEditorCore(EasyEditorMemit):
    """EasyEdit's CORE: MEMIT whose vectors vary less between contexts."""

    name = "easyeditor:CORE"
    hparams_class = hparams_of.Core


class EasyEditorMemitFE(EasyEditorMemit):
    """EasyEdit's MEMIT-FE: MEMIT whose later layers' values follow from the first one's."""

    name = "easyeditor:MEMIT-FE"
    hparams_class = hparams_of.MemitFE


class EasyEditorEamet(EasyEditorMemit):
    """EasyEdit's EAMET."""

    name = "easyeditor:EAMET"
    hparams_class = hparams_of.Eamet

    def values(self, model: EditableModel, facts: Sequence[Fact]) -> dict[str, Any]:
        values = super().values(model, facts)
        weight, layers = values["mom2_update_weight"], values["layers"]
        return values | {"mom2_update_weight": [weight] * len(layers) if isinstance(weight, float) else weight}


class EasyEditorPmet(EasyEditorMemit):
    """EasyEdit's PMET."""

    name = "easyeditor:PMET"
    hparams_class = hparams_of.Pmet

    hparams: hparams_of.Pmet

    def values(self, model: EditableModel, facts: Sequence[Fact]) -> dict[str, Any]:
        values, block = super().values(model, facts), model.architecture.block
        there = [name for name in ATTENTION_OUT if f"{block}.{name}.weight".format(0) in model.names()]
        matrix = model.architecture.mlp_out
        attention = self.hparams.attn_module_tmp or f"{block}.{there[0]}"
        modules = {"mlp_module_tmp": matrix, "attn_module_tmp": attention, "rewrite_module_tmps": [matrix]}
        return values | modules


class EasyEditorUltraEdit(EasyEditor):
    """EasyEdit's UltraEdit."""

    name = "easyeditor:ULTRAEDIT"
    hparams_class = hparams_of.UltraEdit

    hparams: hparams_of.UltraEdit

    def values(self, model: EditableModel, facts: Sequence[Fact]) -> dict[str, Any]:
        self.hparams.check_number(len(facts))
        unused = dict.fromkeys(("model_class", "tokenizer_class", "tokenizer_name"), "")
        own = {"inner_params": self.hparams.modules(model), "batch_size": len(facts), "half": False}
        more = {"dropout": 0.0, "no_grad_layers": None, "silent": True}
        return super().values(model, facts) | unused | own | more


CHECKOUT_METHODS: Mapping[str, type[Editor]] = {
    method.name: method
    for method in (
        *(EasyEditorAlphaEdit, EasyEditorCore, EasyEditorEamet, EasyEditorEmmet, EasyEditorMemitFE, EasyEditorPmet),
        *(EasyEditorRRome, EasyEditorSphere, EasyEditorUltraEdit),
    )
}
