"""EasyEdit's methods that change weights, as editors: `easyeditor:ROME`, `MEMIT`, `KN`, `MEND`, `FT`, `LoRA`.
Those that newer source alone has are in `checkout`.

The library runs in an environment of its own (`make easyeditor`, `environment`). A worker there gets the folder of
the base model, the tensors that differ from it, the facts, and what would otherwise be drawn or computed by the library
itself: context templates, covariances, a seed. Back comes the difference of the weights, W after - W before, in thin
factors where it has a small rank. Every operation meets a fresh state of the library.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from modelfolder.errors import InputError
from rect import places
from rect import prefixes as prefix_module
from rect.editors import second_moment
from rect.editors.base import Editor
from rect.editors.easyeditor import environment
from rect.editors.easyeditor import hparams as hparams_of
from rect.editors.easyeditor.environment import EasyEditorError, Environment
from rect.history import KEYS
from rect.joint import joint
from rect.prefixes import Prefixes

if TYPE_CHECKING:
    import torch

    from rect.covariance import Covariance
    from rect.editors.easyeditor.process import Worker
    from rect.facts import Fact
    from rect.history import History
    from rect.model import EditableModel
    from rect.update import Update

log = logging.getLogger(__name__)

PROBE_WITHIN = {"float32": 1e-3, "float64": 1e-3}
"""How far the logits of the two environments may be apart, relative; 0.05 for lower precision."""


def check_spaces(facts: Sequence[Fact]) -> None:
    """Raise InputError for a fact whose target follows its prompt without a space: EasyEdit always puts one there."""
    for fact in facts:
        if not joint(fact.filled, fact.target, fact.space):
            raise InputError(
                f"{fact.shown}: no space stands before the target {fact.target!r}, and EasyEdit would put one there: "
                "take a method of this project's own"
            )


class EasyEditor(Editor):
    """An editor whose work is done by EasyEdit in its environment.

    Args:
        hparams: hyperparameters.
        where: the environment.
        prefixes: context templates, for the methods that use some.
        covariance: of keys, likewise.
    """

    version = "1"
    batch = True
    takes_prompt: ClassVar[bool] = False  # with {} for the subject, as ROME and MEMIT look for it
    hparams_class: ClassVar[type[hparams_of.EasyEditorHparams]]
    hparams: hparams_of.EasyEditorHparams

    def __init__(
        self,
        hparams: hparams_of.EasyEditorHparams,
        where: Environment,
        prefixes: Prefixes | None = None,
        covariance: Covariance | None = None,
    ) -> None:
        super().__init__(hparams)
        self.where, self.prefixes, self.covariance = where, prefixes, covariance
        self._worker: Worker | None = None

    @classmethod
    def build(cls, model: EditableModel, hparams: Any, prefixes: Any, covariance: Any) -> Self:
        hparams.check(model)
        cls.check(model.name, hparams.model_dump(mode="json"))
        if model.folder is None:
            raise InputError(
                f"{cls.name} reads the model from its folder: save it, and load that with EditableModel.load"
            )
        drawn, used = None, None
        if cls.takes_prompt:
            drawn = prefix_module.of(prefixes, model, hparams.context_template_length_params)
        if cls.needs_covariance(hparams.model_dump()):
            used = covariance or second_moment.at_hand(cls.name, hparams, model)
            used.check(model)
        return cls(hparams, environment.find(), drawn, used)

    @classmethod
    def needs_covariance(cls, hparams: Mapping[str, Any]) -> bool:
        """Whether the covariance of keys is handed over."""
        return False

    @classmethod
    def check(cls, model_name: str, hparams: Mapping[str, Any]) -> None:
        where = environment.find()
        method = cls.hparams_class.alg_name
        if method not in where.methods():
            raise InputError(f"{cls.name} is not in the EasyEdit of {where.package}: {', '.join(where.methods())}")

    @classmethod
    def describe(cls, hparams: Mapping[str, Any], prefixes: Any = None, covariance: Any = None) -> dict[str, Any]:
        about = {**super().describe(hparams), "easyeditor": environment.source_version()}
        if not cls.takes_prompt:
            return about
        default = cls.hparams_class.model_fields["context_template_length_params"].default
        lengths = hparams.get("context_template_length_params", default)
        about["hparams"] = {key: value for key, value in hparams.items() if key not in second_moment.KEYS}
        return {
            **about,
            "prefixes": prefixes or Prefixes.recipe(0, lengths),
            "covariance": covariance if cls.needs_covariance(hparams) else None,
        }

    def _compute(self, model: EditableModel, facts: list[Fact], history: History) -> Update:
        from rect.editors.easyeditor.difference import difference
        from rect.editors.easyeditor.process import Worker
        from rect.update import Update, UpdateError

        check_spaces(facts)
        try:
            if self._worker is None or not self._worker.alive:
                self._worker = Worker(self.where, model)
            handed = {"weights": model.changed(), **self.handed(model, history)}
            edited, keys, took = self._worker.edit(self._request(model, facts), handed)
        except EasyEditorError as error:
            said = f"{self.name} failed inside EasyEdit {self.where.version}: {error}"
            told = EasyEditorError(f"{said}; other facts or hparams may do; its traceback is in the cell's log")
            for note in error.__notes__:
                told.add_note(note)
            raise told from None
        for name, after in edited.items():
            if not bool(after.isfinite().all()):
                raise UpdateError(f"{self.name}: {name}: EasyEdit's update holds NaN or infinity")
        if not edited:
            log.warning("%s changed no weight for %r", self.name, facts[0].filled)
        entries = {name: difference(model.weight(name), after.to(model.device)) for name, after in edited.items()}
        return Update(entries, {"took": took}, {name: {KEYS: some} for name, some in keys.items()})

    def _request(self, model: EditableModel, facts: list[Fact]) -> dict[str, Any]:
        requests = [
            {
                "case_id": index,
                "prompt": fact.prompt if self.takes_prompt else fact.filled,
                "subject": fact.subject,
                "target_new": fact.target,
                "ground_truth": fact.original or "<|endoftext|>",  # as EasyEdit's editor has it
            }
            for index, fact in enumerate(facts)
        ]
        return {
            "method": self.hparams.alg_name,
            "hparams": self.values(model, facts),
            "facts": requests,
            "remembers": self.remembers,
            "templates": None if self.prefixes is None else list(self.prefixes.templates),
            "seed": self.hparams.seed,
            "probe": _probe(model, facts[0].filled),
        }

    def values(self, model: EditableModel, facts: Sequence[Fact]) -> dict[str, Any]:
        """EasyEdit's hyperparameters, with the modules as they lie in this model."""
        parts = model.architecture
        tied = model.hf.get_input_embeddings().weight is getattr(model.hf.get_output_embeddings(), "weight", None)
        values = self.hparams.model_dump(mode="json")
        last = model.n_layers - 1
        if "v_loss_layer" in values:
            values["v_loss_layer"] = last if values["v_loss_layer"] is None else min(values["v_loss_layer"], last)
        if "steps" in values and values["batch_size"] is None:
            values["batch_size"] = values["steps"]
        values["rewrite_module_tmp"] = values["rewrite_module_tmp"] or parts.mlp_out + self.hparams.edited
        return values | {
            "layer_module_tmp": parts.block,
            "mlp_module_tmp": parts.mlp,
            "attn_module_tmp": "",  # required by the record, read by no method
            "ln_f_module": parts.final_norm,
            # MEMIT looks the head's weight up by name, which a tied head does not have
            "lm_head_module": parts.embedding if tied else parts.head,
            "stats_dir": "",
            "results_dir": "",
        }

    def handed(self, model: EditableModel, history: History) -> dict[str, dict[str, torch.Tensor]]:
        """What the library would compute, or remember, itself: tensors by file and name."""
        if self.covariance is None:
            return {}
        layers = getattr(self.hparams, "layers", ())
        named = {model.path(model.architecture.mlp_out, layer): self.covariance.matrix(layer) for layer in layers}
        return {"covariance": named}


class EasyEditorRome(EasyEditor):
    """EasyEdit's ROME."""

    name = "easyeditor:ROME"
    batch = False
    takes_prompt = True
    hparams_class = hparams_of.Rome

    @classmethod
    def needs_covariance(cls, hparams: Mapping[str, Any]) -> bool:
        return bool(hparams.get("mom2_adjustment", True))


class EasyEditorMemit(EasyEditor):
    """EasyEdit's MEMIT."""

    name = "easyeditor:MEMIT"
    takes_prompt = True
    hparams_class: ClassVar[type[hparams_of.EasyEditorHparams]] = hparams_of.Memit

    @classmethod
    def needs_covariance(cls, hparams: Mapping[str, Any]) -> bool:
        return True


class EasyEditorKn(EasyEditor):
    """EasyEdit's KN."""

    name = "easyeditor:KN"
    batch = False
    sparse = True
    hparams_class = hparams_of.Kn


class EasyEditorFt(EasyEditor):
    """EasyEdit's fine-tuning of a few matrices: a dense update."""

    name = "easyeditor:FT"
    hparams_class = hparams_of.Ft


class EasyEditorLora(EasyEditor):
    """EasyEdit's LoRA, merged into the weights."""

    name = "easyeditor:LoRA"
    hparams_class = hparams_of.Lora


class EasyEditorMend(EasyEditor):
    """EasyEdit's MEND, with a hypernetwork that EasyEdit trained."""

    name = "easyeditor:MEND"
    hparams_class = hparams_of.Mend

    @classmethod
    def check(cls, model_name: str, hparams: Mapping[str, Any]) -> None:
        super().check(model_name, hparams)
        archive = hparams.get("archive")
        if not archive or not places.expanded(archive).is_file():
            raise InputError(
                f"{cls.name} needs a hypernetwork that EasyEdit trained for {model_name}: give EasyEdit's hparams file "
                f"with its archive ({f'{archive}: no such file' if archive else 'none is named'})"
            )

    @classmethod
    def describe(cls, hparams: Mapping[str, Any], prefixes: Any = None, covariance: Any = None) -> dict[str, Any]:
        """The archive's digest stands for where it lies."""
        about, trained = super().describe(hparams), None
        with contextlib.suppress(OSError), open(places.expanded(hparams.get("archive") or ""), "rb") as stream:
            trained = hashlib.file_digest(stream, "sha256").hexdigest()
            about["hparams"] = {key: value for key, value in hparams.items() if key != "archive"}
        return {**about, "trained": trained}


METHODS: dict[str, type[Editor]] = {
    method.name: method
    for method in (EasyEditorFt, EasyEditorKn, EasyEditorLora, EasyEditorMemit, EasyEditorMend, EasyEditorRome)
}


def _probe(model: EditableModel, text: str) -> dict[str, Any]:
    """What the model says after a text, to be found again in the other environment: one forward pass."""
    import torch

    ids = model.tokenizer(text)["input_ids"]
    with torch.no_grad():
        logits = model.hf(torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1]
    within = PROBE_WITHIN.get(str(model.dtype).removeprefix("torch."), 0.05)
    return {"text": text, "ids": ids, "logits": logits.float().tolist(), "within": within}
