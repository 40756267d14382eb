"""Methods of editing: `create("rome", model).compute(model, [fact])` gives an update.

A new method is a class like those in `EDITORS` and a line there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError, nearest
from rect.editors import hyperparameters
from rect.editors.alphaedit import AlphaEdit
from rect.editors.base import Editor
from rect.editors.betaedit import BetaEdit
from rect.editors.easyeditor import environment
from rect.editors.easyeditor.checkout import CHECKOUT_METHODS
from rect.editors.easyeditor.editor import METHODS as EASYEDITOR_METHODS
from rect.editors.emmet import Emmet
from rect.editors.encore import Encore
from rect.editors.evoedit import EvoEdit
from rect.editors.kn.editor import Kn
from rect.editors.memit import Memit
from rect.editors.memit_history import MemitHistory
from rect.editors.mend.editor import Mend
from rect.editors.rome import Rome, RRome
from rect.editors.ultraedit.editor import UltraEdit
from rect.prefixes import Prefixes

if TYPE_CHECKING:
    from rect.covariance import Covariance
    from rect.model import EditableModel

EDITORS: dict[str, type[Editor]] = {
    "kn": Kn,
    "memit": Memit,
    "mend": Mend,
    "rome": Rome,
    "alphaedit": AlphaEdit,
    "betaedit": BetaEdit,
    "emmet": Emmet,
    "encore": Encore,
    "evoedit": EvoEdit,
    "memit-history": MemitHistory,
    "r-rome": RRome,
    "ultraedit": UltraEdit,
    **dict(sorted({**EASYEDITOR_METHODS, **CHECKOUT_METHODS}.items())),
}

__all__ = ["EDITORS", "Editor", "build", "check", "create", "declared", "get", "remark"]

log = logging.getLogger(__name__)


def get(name: str) -> type[Editor]:
    """The method of a name.

    Raises:
        InputError: there is none.
    """
    if reason := environment.refusal(name):
        raise InputError(reason)
    if name not in EDITORS:
        raise InputError(f"editing method {name!r} is not known; {nearest(name, EDITORS)}")
    return EDITORS[name]


def check(name: str, model_name: str, hparams: hyperparameters.Wanted = None) -> None:
    """Find out, before a model is loaded, whether `create` would have what it needs.

    Raises:
        InputError: an unknown method or key, a bad value, or no hypernetwork for this model.
    """
    method = get(name)
    method.check(model_name, hyperparameters.declared(method.hparams_class, hparams, model_name))


def create(
    name: str,
    model: EditableModel,
    hparams: hyperparameters.Wanted = None,
    prefixes: Prefixes | Sequence[str] | None = None,
    covariance: Covariance | None = None,
) -> Editor:
    """An editor for a model.

    Args:
        name: a key of `EDITORS`.
        model: the unedited model.
        hparams: None for the values known of this model (else by relative depth, announced in the log), a mapping that
            overrides some of them, or a YAML file with EasyEdit's keys.
        prefixes: context templates with `{}`; None draws them from the model with seed 0.
        covariance: covariance of keys, where the method uses it.

    Raises:
        InputError: an unknown method or key, a bad value, a missing covariance.
    """
    if line := remark(name, model.name, hparams, model.n_layers):
        log.warning("%s", line)
    return build(name, model, hparams, prefixes, covariance)


def build(
    name: str,
    model: EditableModel,
    hparams: hyperparameters.Wanted,
    prefixes: Prefixes | Sequence[str] | None,
    covariance: Covariance | None,
) -> Editor:
    """`create` without a word in the log, for who has told what `remark` says."""
    method = get(name)
    editor = method.build(model, hyperparameters.resolve(method.hparams_class, hparams, model), prefixes, covariance)
    editor.declared = hyperparameters.declared(method.hparams_class, hparams, model.name)
    return editor


def remark(name: str, model_name: str, hparams: hyperparameters.Wanted = None, n_layers: int | None = None) -> str:
    """What one should know of a method's hyperparameters on a model: that they are untested there; else ""."""
    return hyperparameters.remark(get(name).hparams_class, hparams, model_name, n_layers)


def declared(
    name: str,
    model_name: str,
    hparams: hyperparameters.Wanted = None,
    prefixes: Mapping[str, Any] | None = None,
    covariance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The identity that `create` with the same arguments will give its editor, known without the model.

    Args:
        name, model_name, hparams: as for `create`.
        prefixes: `Prefixes.identity` of those that will be given; None if they will be drawn.
        covariance: `Covariance.identity` of what will be given, or its `declared` form.

    Raises:
        InputError: an unknown method or key, or a bad value.
    """
    method = get(name)
    return method.describe(hyperparameters.declared(method.hparams_class, hparams, model_name), prefixes, covariance)
