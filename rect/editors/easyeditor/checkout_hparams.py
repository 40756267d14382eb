"""Hyperparameters of the methods that only newer source of EasyEdit has (`EASYEDITOR_PATH`): its own keys, as in
`rect.editors.easyeditor.hparams`; the defaults are those of its files, or of our method of that name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pydantic

from modelfolder.errors import InputError
from rect.editors.alphaedit import AlphaEditHparams
from rect.editors.easyeditor import hparams as hparams_of
from rect.editors.ultraedit.editor import UltraEditHparams

if TYPE_CHECKING:
    from rect.model import EditableModel


class AlphaEdit(hparams_of.Memit):
    """AlphaEdit's; the null space may be given by share of directions, as in our own (`nullspace_share`)."""

    method = "easyeditor:AlphaEdit"
    alg_name = "AlphaEdit"
    ours = "alphaedit"

    L2: float = pydantic.Field(10.0, gt=0)
    nullspace_share: float | None = pydantic.Field(None, gt=0, lt=100)
    nullspace_threshold: float | None = pydantic.Field(None, gt=0)

    @pydantic.model_validator(mode="after")
    def _one_of_two(self) -> AlphaEdit:
        if (self.nullspace_share is None) == (self.nullspace_threshold is None):
            raise ValueError("give either nullspace_share or nullspace_threshold")
        return self

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        return AlphaEditHparams.by_depth(n_layers)

    @classmethod
    def skipped(cls) -> frozenset[str]:
        return super().skipped() | {"P_loc"}


class Sphere(AlphaEdit):
    """SPHERE's, on AlphaEdit: eta and alpha."""

    method = "easyeditor:SPHERE"
    alg_name = "SPHERE"

    cumulative_ratio: float = 0.5
    suppression_strength: float = 0.5


class RRome(hparams_of.Rome):
    """R-ROME's: ROME's."""

    method = "easyeditor:R-ROME"
    alg_name = "R-ROME"


class Emmet(hparams_of.Memit):
    """EMMET's."""

    method = "easyeditor:EMMET"
    alg_name = "EMMET"
    ours = "emmet"

    mom2_update_weight: float = 1_000.0
    emmet_lambda: float = 0.1
    update_norm_lambda: float = 0.0


class Core(hparams_of.Memit):
    """CORE's: MEMIT's, and those that its record has values for."""

    method = "easyeditor:CORE"
    alg_name = "CORE"


class MemitFE(hparams_of.Memit):
    """MEMIT-FE's: MEMIT's."""

    method = "easyeditor:MEMIT-FE"
    alg_name = "MEMIT-FE"


class Eamet(hparams_of.Memit):
    """EAMET's, with the defaults of EasyEdit's file for Qwen2.5; `mom2_update_weight` is one number, or one a layer."""

    method = "easyeditor:EAMET"
    alg_name = "EAMET"

    mom2_update_weight: float | tuple[float, ...] = 15_000.0  # type: ignore[assignment]
    ks_bs: int = 1
    clamp_ks_factor: float = 1.0
    cs_factor: float = 1.0
    mse_factor: float = 1.0
    tau: float = 0.07
    norm_factor: float = 1e-3
    delta_init: str = "target_init"
    weight_decay_method: str = "norm"


class Pmet(hparams_of.Memit):
    """PMET's, with the defaults of EasyEdit's file for LLaMA.

    Attributes:
        attn_module_tmp: the projection out of the attention; None for the model's own.
    """

    method = "easyeditor:PMET"
    alg_name = "PMET"

    nll_loss_factor: float = 1.0
    attn_module_tmp: str | None = None

    @classmethod
    def skipped(cls) -> frozenset[str]:
        return (super().skipped() | {"rewrite_module_tmps"}) - {"attn_module_tmp"}


class UltraEdit(hparams_of.EasyEditorHparams):
    """UltraEdit's.

    Attributes:
        inner_params: the edited modules; none for those of our own method by depth: projections into the MLP.
        batch_size_once: facts in a pass. The library leaves out those that fill none.
    """

    method = "easyeditor:ULTRAEDIT"
    alg_name = "ULTRAEDIT"

    inner_params: tuple[str, ...] = ()
    lr: float = 1e-6
    token: str = "mask"
    batch_size_once: int = pydantic.Field(1, ge=1)
    editor_batch_size: int = 1024

    @classmethod
    def skipped(cls) -> frozenset[str]:
        named = {"model_class", "tokenizer_class", "tokenizer_name", "no_grad_layers", "dropout", "silent"}
        return super().skipped() | named | {"half", "batch_size"}  # the dtype is the model's, the facts are those given

    def modules(self, model: EditableModel) -> list[str]:
        """The edited modules in this model."""
        layers = UltraEditHparams.by_depth(model.n_layers)["up_layers"]
        by_depth = [model.mlp_in_names(layer)[-1].removesuffix(".weight") for layer in layers]
        return [name.removesuffix(".weight") for name in self.inner_params] or by_depth

    def check(self, model: EditableModel) -> None:
        for name in self.modules(model):
            if f"{name}.weight" not in model.names():
                self._other(model, "inner_params", name, model.mlp_in_names(0)[-1].removesuffix(".weight"))

    def check_number(self, facts: int) -> None:
        """Raise InputError where facts of an operation fill no pass: the library would leave them out unsaid."""
        if facts % self.batch_size_once:
            raise InputError(
                f"{self.method}: batch_size_once {self.batch_size_once}: of {facts} facts EasyEdit would leave out "
                f"{facts % self.batch_size_once}: give a divisor of their number"
            )
