"""MEND: a trained hypernetwork turns the gradient of a fact into an edit (Mitchell et al. 2022, rect.editors.mend).

Several facts are edited at once by putting the tokens of their gradients side by side: the sum of the single edits. The
update of a matrix has as many ranks as tokens; where that would be larger than the matrix, it is kept dense.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from modelfolder.errors import InputError
from rect import hub
from rect.editors.base import Editor
from rect.editors.hyperparameters import Hparams
from rect.editors.mend import files

if TYPE_CHECKING:
    from rect.editors.mend.saved import Checkpoint
    from rect.facts import Fact
    from rect.history import History
    from rect.model import EditableModel
    from rect.update import Update

log = logging.getLogger(__name__)

# Keys of EasyEdit's files that describe the network and its training: here the checkpoint's header says it.
_TRAINING = """model_class tokenizer_class tokenizer_name inner_params alg lr edit_lr lr_lr seed cedit cloc cbase
dropout train_base no_grad_layers one_sided n_hidden hidden_dim init norm combine x_only delta_only act rank mlp_class
shared model_save_pt silent max_epochs max_iters log_interval eval_log_interval final_eval val_interval
early_stop_patience early_stop_key eval_only half debug save verbose val_batch_size accumulate_bs val_steps opt
grad_clip"""
TRAINING = frozenset(_TRAINING.split())


CONFIGURED = {
    "smollm2-135m": "smollm2-135m",
    "openai-community/gpt2-xl": "gpt2-xl",
    "meta-llama/Llama-2-7b-hf": "llama-7b",
}  # the models of the files in configs/mend


class MendHparams(Hparams):
    """What editing needs; the rest is in the checkpoint. EasyEdit's `archive` is read as `checkpoint`.

    Attributes:
        checkpoint: a file, a folder that holds `mend.safetensors`, or a hub id; None: `results/mend/<model>`, where
            `sweeps train-mend` leaves what it trained.
        revision: the commit of the hub id.
        lr_scale: factor of the update.
    """

    method: ClassVar[str] = "mend"

    checkpoint: str | None = None
    revision: str | None = None
    lr_scale: float = 1.0

    @classmethod
    def by_name(cls, model_name: str) -> dict[str, Any]:
        return {"checkpoint": files.default_folder(model_name)}

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        own = {key: value for key, value in values.items() if key not in TRAINING}
        if "archive" in own:
            own["checkpoint"] = own.pop("archive")
        return super().parse(own, where)


def training_command(model_name: str) -> str:
    """What trains a checkpoint for a model."""
    if model_name in CONFIGURED:
        return f"sweeps train-mend configs/mend/{CONFIGURED[model_name]}.yaml"
    short = files.short_name(model_name)
    near = "smollm2-135m" if short.startswith("smollm") else "gpt2-xl" if short.startswith("gpt2") else "llama-7b"
    return f"sweeps train-mend configs/mend/{near}.yaml --set model={model_name}"


class Mend(Editor):
    """The MEND editor: one fact or many, the MLPs of the last blocks.

    Args:
        hparams: hyperparameters.
        trained: the checkpoint.
        model: the model; the checkpoint must be for it.

    Raises:
        InputError: the checkpoint is for another model.
    """

    name = "mend"
    version = "1"
    batch = True
    hparams_class = MendHparams
    hparams: MendHparams

    def __init__(self, hparams: MendHparams, trained: Checkpoint, model: EditableModel) -> None:
        super().__init__(hparams)
        trained.check_model(model)
        self.trained = trained
        self.network = trained.network().to(model.device).eval().requires_grad_(False)

    @classmethod
    def build(cls, model: EditableModel, hparams: Any, prefixes: Any, covariance: Any) -> Self:
        from rect.editors.mend import saved

        name = hparams.checkpoint or files.default_folder(model.name)
        cls.check(model.name, {"checkpoint": name, "revision": hparams.revision})
        return cls(hparams, saved.load(files.find(name, hparams.revision)), model)

    @classmethod
    def check(cls, model_name: str, hparams: Mapping[str, Any]) -> None:
        name, revision = _named(hparams) or files.default_folder(model_name), hparams.get("revision")
        try:
            if files.find_here(name) is None and not hub.is_commit(revision or ""):
                raise InputError(
                    f"MEND checkpoint {name!r}: a repository of the hub may change; name the commit that is meant as "
                    f"revision (40 hexadecimal digits), not {revision!r}"
                )
        except InputError as error:
            raise InputError(
                f"mend needs a hypernetwork trained for {model_name}. {error}: run `{training_command(model_name)}`, "
                f"or name yours in hparams: {{checkpoint: ...}}"
            ) from None

    @classmethod
    def describe(cls, hparams: Mapping[str, Any], prefixes: Any = None, covariance: Any = None) -> dict[str, Any]:
        """The hyperparameters; the digest of a checkpoint's file stands for where it lies, and a commit for itself."""
        declared, trained = dict(hparams), None
        with contextlib.suppress(InputError):  # `check` and `build` tell what is missing
            path = files.find_here(_named(hparams) or "")
            if path is not None:
                trained = files.read_header(path)["digest"]
                declared = {key: value for key, value in hparams.items() if key not in ("checkpoint", "archive")}
        return {**super().describe(declared), "trained": trained}

    def _compute(self, model: EditableModel, facts: list[Fact], history: History) -> Update:
        import torch

        from rect.editors.mend.data import answered
        from rect.editors.mend.step import Editing
        from rect.update import Update, outer

        if seen := self.trained.seen(facts):
            log.warning("mend: %d of %d facts were trained on, such as %r", len(seen), len(facts), seen[0].filled)
        rows = answered(model.tokenizer, [(fact.filled, fact.target, fact.space) for fact in facts], model.device)
        gradients = Editing(model, self.network).gradients(rows)
        with torch.no_grad():
            factors = self.network(gradients)  # (tokens, in) and (tokens, out)
        scale, transposed = self.hparams.lr_scale, model.architecture.transposed
        entries = {
            name: outer(scale * b.T, a.T, transposed) for name, (a, b) in factors.items()
        }  # (tokens, in), (.., out)
        return Update(entries, {"seen_in_training": len(seen)})


def _named(hparams: Mapping[str, Any]) -> str | None:
    """The checkpoint's name in hyperparameters, EasyEdit's key for it first."""
    return hparams.get("archive") or hparams.get("checkpoint")
