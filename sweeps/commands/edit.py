"""The work of `sweeps edit`, `sweeps apply` and `sweeps regularize`: one model at a time, no Ray, no engine."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from modelfolder.errors import InputError, nearest
from rect import places
from rect.editors import EDITORS
from rect.editors.easyeditor import environment
from rect.regularizers import REGULARIZERS
from sweeps.commands import effect, shared, show_edit
from sweeps.commands.effect import Request

if TYPE_CHECKING:
    from rich.console import Console

    from rect.facts import Fact
    from rect.model import EditableModel


def edit(request: Request, console: Console) -> None:
    """Make one edit, show what it does, save what is asked for. All input is checked before the model is loaded.

    Raises:
        InputError: anything in the request that cannot be used.
    """
    fact = checked_fact(request.subject, request.prompt, request.target)
    k = checked_regularizer(request.regularizer, request.k)
    if reason := environment.refusal(request.method):
        raise InputError(f"--method {reason}")
    _known("--method", request.method, EDITORS)
    more = read_prompts(request.prompts) if request.prompts else []
    if request.save:
        check_empty(request.save)
    if request.save_update and os.path.exists(request.save_update):
        raise InputError(f"--save-update {request.save_update}: the file is there already; name a new one")
    if request.save_update:
        places.check_file(f"--save-update {request.save_update}", request.save_update)

    from rect import editors

    editors.check(request.method, request.model, request.hparams)  # a slip is told before the model is loaded
    made = effect.make(replace(request, dtype=_stored(request.model, request.dtype)), fact, k, more)
    show_edit.show(made, console)
    if request.save_update:
        made.kept.save(request.save_update)
        console.print(f"The update is in {request.save_update}", highlight=False, markup=False)
    if request.save:
        _save(made.model, request.save, console)


def apply(model_name: str, update_file: Path, save: str, dtype: str, console: Console) -> None:
    """Add a saved update to a model and export the whole.

    Raises:
        InputError: no such update or model, they do not fit, or the folder is not empty.
    """
    check_empty(save)

    from rect.model import EditableModel
    from rect.update import Update

    update = Update.load(update_file)
    model = EditableModel.load(model_name, device="cpu", dtype=_stored(model_name, dtype))
    model.add(update)
    _save(model, save, console)


def regularize(
    base: str,
    edited: str,
    regularizer: str,
    k: float | None,
    save: str,
    seed: int,
    dtype: str,
    console: Console,
) -> None:
    """Regularize the difference of two checkpoints of one model and export base + regularized difference.

    Raises:
        InputError: the two are not checkpoints of one model, a bad regularizer or k, or the folder is not empty.
    """
    percentage = checked_regularizer(regularizer, k)
    check_empty(save)

    from rect import models, regularizers, weights
    from rect.model import EditableModel
    from rect.update import Update

    before, after = models.resolve(base), models.resolve(edited)
    raw = Update.between(before, after)
    if not raw:
        raise InputError(f"{base} and {edited} do not differ: there is nothing to regularize")
    model = EditableModel.load(str(before), device="cpu", dtype=_stored(str(before), dtype))
    kept = regularizers.get(regularizer)(raw, model, k=percentage, seed=seed)
    model.add(kept, tied=True)  # a difference of whole models may well contain the embedding
    console.print(show_edit.weights(weights.statistics(model), regularizers.shares(raw, kept)))
    _save(model, save, console)


# Checks


def checked_fact(subject: str, prompt: str, target: str) -> Fact:
    """The fact of three options; the prompt holds {} or the subject itself, as in a file of facts."""
    from rect import fact_files

    if not subject.strip():
        raise InputError("--subject is empty: what is the fact about?")
    if not target.strip():
        raise InputError("--target is empty: which answer is to be edited in?")
    try:
        [fact] = fact_files.FORMATS["facts"].read({"subject": subject, "prompt": prompt, "target": target}, "")
    except InputError as error:
        raise InputError(f"--prompt {prompt!r}: {error}") from None
    return fact


def checked_regularizer(regularizer: str, k: float | None) -> float:
    """k as a number: 100 for `none`, which takes no k."""
    _known("--regularizer", regularizer, REGULARIZERS)
    if regularizer == "none":
        if k is not None:
            raise InputError(f"--k {k:g}: regularizer none keeps everything; leave --k out or name a --regularizer")
        return 100.0
    if k is None:
        raise InputError(f"--regularizer {regularizer} needs --k, the percentage of elements to keep, such as --k 40")
    if not 0 < k <= 100:
        raise InputError(f"--k {k:g}: it must be a percentage above 0 and at most 100")
    return k


def _known(option: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise InputError(f"{option} {name}: unknown; {nearest(name, known)}")


def check_empty(folder: str) -> None:
    """Raises InputError where a folder to save into holds anything, or cannot be written."""
    if os.path.isfile(folder) or (os.path.isdir(folder) and any(os.scandir(folder))):
        raise InputError(f"--save {folder}: it is there already and not empty; name a new folder")
    places.check_folder(f"--save {folder}", folder)


def read_prompts(file: Path) -> list[str]:
    """The lines of a text file that are not blank."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"--prompts {file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--prompts {file}: cannot be read as text ({error})") from None
    prompts = [line.rstrip() for line in lines if line.strip()]
    if not prompts:
        raise InputError(f"--prompts {file}: holds no prompt; one per line is wanted")
    return prompts


def _stored(name: str, dtype: str) -> str:
    """The dtype asked for; "auto" becomes what the model's config declares, float32 where it declares none."""
    if dtype != "auto":
        return dtype
    from rect import models

    config = json.loads((models.resolve(name) / "config.json").read_text(encoding="utf-8"))
    declared = config.get("dtype") or config.get("torch_dtype")
    return declared if declared in get_args(shared.Precision) else "float32"


def _save(model: EditableModel, folder: str, console: Console) -> None:
    model.save(folder)
    console.print(f"The edited model is in {folder}", highlight=False, markup=False)
