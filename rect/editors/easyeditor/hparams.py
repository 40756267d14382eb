"""Hyperparameters of EasyEdit's methods: its own keys, so that its YAML files load as they are.

Where modules lie is the model's own architecture; a file that names other modules is one for another model.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pydantic

from modelfolder import yaml_files
from modelfolder.errors import InputError
from rect.corpus import SELF
from rect.editors import hyperparameters
from rect.editors.hyperparameters import Hparams
from rect.editors.memit import MemitHparams
from rect.editors.rome import RomeHparams

if TYPE_CHECKING:
    from rect.model import EditableModel

# Keys of EasyEdit's files that the worker fills itself, or that say nothing about the numbers.
ELSEWHERE = {"alg_name", "model_name", "stats_dir", "results_dir", "device", "model_parallel"} | {
    *("layer_module_tmp", "mlp_module_tmp", "attn_module_tmp", "ln_f_module", "lm_head_module")
}


class EasyEditorHparams(Hparams):
    """EasyEdit's keys, passed on as they are; those that have a default or are looked at here are named.

    Attributes:
        seed: of everything that the library draws in an operation.
        rewrite_module_tmp: the edited module; None for the MLP's output projection.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="allow")

    alg_name: ClassVar[str]
    ours: ClassVar[str | None] = ""
    ours_alone: ClassVar[frozenset[str]] = frozenset()  # keys of those that EasyEdit does not have
    edited: ClassVar[str] = ""  # how EasyEdit's files go on after the name of the edited module

    seed: int = 0
    rewrite_module_tmp: str | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """As for our own methods, but unknown keys pass: EasyEdit knows them, or says that it does not."""
        known = cls.model_fields.keys()
        numbers = {key: _number(value) for key, value in values.items() if key not in cls.ours_alone}
        super().parse({key: value for key, value in numbers.items() if key in known}, where)
        return cls(**numbers)

    @classmethod
    def read(cls, path: str | os.PathLike[str], model: EditableModel | None = None) -> Self:
        values = yaml_files.mapping(Path(path))
        method = str(values.get("alg_name", cls.alg_name))
        if method != cls.alg_name:
            raise InputError(f"{path}: alg_name: these are hyperparameters of {method}, not of {cls.alg_name}")
        kept = {key: value for key, value in values.items() if key not in cls.skipped()}
        found = cls.parse(kept, str(path))
        if model is not None:
            found.check(model)
        return found

    @classmethod
    def skipped(cls) -> frozenset[str]:
        return hyperparameters.META | ELSEWHERE

    def check(self, model: EditableModel) -> None:
        """Raises InputError where they are for another model."""
        layers = getattr(self, "layers", None) or ()
        for layer in layers:
            model.block(layer)
        template = self.rewrite_module_tmp
        if template is not None:
            for layer in layers:
                if not any(name.startswith(template.replace("{}", str(layer))) for name in model.names()):
                    self._other(model, "rewrite_module_tmp", template, model.architecture.mlp_out)

    def _other(self, model: EditableModel, key: str, value: str, right: str) -> None:
        raise InputError(
            f"hparams of {self.method}: {key}: {value!r} is not in {model.name}: they are for another model; "
            f"right would be {right!r}"
        )


class Rome(EasyEditorHparams):
    """ROME's, with the defaults of EasyEdit's files for LLaMA, the covariance aside, which is as in our own methods."""

    method = "easyeditor:ROME"
    alg_name = "ROME"
    ours = "rome"

    layers: tuple[int, ...]
    fact_token: str = "subject_last"
    v_num_grad_steps: int = 25
    v_lr: float = 0.5
    v_loss_layer: int | None = None
    v_weight_decay: float = 1e-3
    clamp_norm_factor: float = 4.0
    kl_factor: float = 0.0625
    mom2_adjustment: bool = True
    mom2_dataset: str = SELF
    mom2_n_samples: int | None = pydantic.Field(None, ge=1)
    mom2_dtype: Literal["float32", "float64"] = "float32"
    context_template_length_params: tuple[tuple[int, int], ...] = ((5, 10), (10, 10))

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        return RomeHparams.by_depth(n_layers)


class Memit(Rome):
    """MEMIT's. EasyEdit takes five contexts of ten tokens; here their number may be given, as for ROME."""

    method = "easyeditor:MEMIT"
    alg_name = "MEMIT"
    ours = "memit"

    layer_selection: str = "all"
    mom2_update_weight: float = 15_000.0
    context_template_length_params: tuple[tuple[int, int], ...] = ((10, 5),)

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        return MemitHparams.by_depth(n_layers)


class Kn(EasyEditorHparams):
    """KN's; where no batch_size is given it is steps, of which EasyEdit wants a divisor."""

    method = "easyeditor:KN"
    alg_name = "KN"
    ours = "kn"
    ours_alone = frozenset({"neurons", "rows_per_pass"})

    lr_scale: float = 1.0
    n_toks: int = 10
    refine: bool = False
    batch_size: int | None = None
    steps: int = 20
    adaptive_threshold: float = 0.2
    p: float = 0.4


class Ft(EasyEditorHparams):
    """Those of fine-tuning, with the defaults of EasyEdit's file for LLaMA."""

    method = "easyeditor:FT"
    alg_name = "FT"
    edited = ".weight"

    layers: tuple[int, ...]
    num_steps: int = 25
    lr: float = 5e-4
    weight_decay: float = 0.0
    kl_factor: float = 0.0
    norm_constraint: float | bool = False
    batch_size: int = 1

    @classmethod
    def by_depth(cls, n_layers: int) -> dict[str, Any]:
        """Two thirds of the way up: layer 21 of LLaMA's 32."""
        return {"layers": [n_layers * 21 // 32]}


class Lora(EasyEditorHparams):
    """LoRA's, with the defaults of EasyEdit's file for LLaMA; no layers means all."""

    method = "easyeditor:LoRA"
    alg_name = "LoRA"

    layers: tuple[int, ...] = ()
    num_steps: int = 70
    lr: float = 5e-3
    weight_decay: float = 0.0
    kl_factor: float = 0.0
    norm_constraint: float | bool = False
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    rank: int = 8
    lora_alpha: float = 32.0
    lora_dropout: float = 0.1
    batch_size: int = 1

    def check(self, model: EditableModel) -> None:
        super().check(model)
        there = sorted({name.split(".")[-2] for name in model.names()})
        for wanted in self.target_modules:
            if wanted.rsplit(".", 1)[-1] not in there:
                self._other(model, "target_modules", wanted, ", ".join(there))


class Mend(EasyEditorHparams):
    """MEND's: EasyEdit's file, whose `archive` names a hypernetwork that EasyEdit trained."""

    method = "easyeditor:MEND"
    alg_name = "MEND"

    archive: str | None = None
    inner_params: tuple[str, ...] = ()

    def check(self, model: EditableModel) -> None:
        for name in self.inner_params:
            if name not in model.names():
                right = model.mlp_out_name(model.n_layers - 1)
                self._other(model, "inner_params", name, right)


def _number(value: Any) -> Any:
    """A text such as "5e-4", which YAML takes for one, as the number that is meant; anything else as it is."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value
