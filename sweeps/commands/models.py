"""Commands that change one model: edit, apply, regularize. Registered by `sweeps.commands.app`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import shared
from sweeps.commands.shared import Device, K, Model, ModelArgument, Regularizer, Seed, StoredDtype

SAVE = typer.Option(metavar="DIR", help="Where the model goes: an empty folder or a new one.", show_default=False)


def _methods() -> list[str]:
    from rect.editors import EDITORS

    return list(EDITORS)


def edit(
    subject: Annotated[str, typer.Option(help="What the fact is about: France.", show_default=False)],
    prompt: Annotated[str, typer.Option(help="With {} for the subject: The capital of {} is", show_default=False)],
    target: Annotated[str, typer.Option(help="The new answer: Rome.", show_default=False)],
    model: Model = "smollm2-135m",
    method: Annotated[str, typer.Option(help="rome, memit ...; see methods.", autocompletion=_methods)] = "rome",
    regularizer: Regularizer = "none",
    k: K = None,
    hparams: Annotated[Path | None, typer.Option(help="YAML of hyperparameters; EasyEdit's load too.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Text file, one more prompt to continue per line.")] = None,
    save: Annotated[str | None, SAVE] = None,
    save_update: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the update alone (safetensors).")
    ] = None,
    new_tokens: Annotated[int, typer.Option(min=1, help="Length of the continuations.")] = 10,
    seed: Seed = 0,
    dtype: StoredDtype = "float32",
    device: Device = "auto",
) -> None:
    """Make one edit and show what it does."""
    from sweeps.commands import edit as work

    request = work.Request(subject, prompt, target, model, method, regularizer, k, hparams, prompts, save, save_update)
    request = replace(request, new_tokens=new_tokens, seed=seed, dtype=dtype, device=device)
    work.edit(request, shared.console())


def apply(
    model: ModelArgument,
    update: Annotated[Path, typer.Argument(help="File of `sweeps edit --save-update`.", show_default=False)],
    save: Annotated[str, SAVE],
    dtype: StoredDtype = "auto",
) -> None:
    """Add a saved update to a model and export it."""
    from sweeps.commands import edit as work

    work.apply(model, update, save, dtype, shared.console())


def regularize(
    base: Annotated[str, typer.Argument(help="The model before.", show_default=False)],
    edited: Annotated[str, typer.Argument(help="The same model after, however it was changed.", show_default=False)],
    save: Annotated[str, SAVE],
    regularizer: Regularizer = "rect",
    k: K = None,
    seed: Seed = 0,
    dtype: StoredDtype = "auto",
) -> None:
    """Regularize the difference of any two checkpoints of one model."""
    from sweeps.commands import edit as work

    work.regularize(base, edited, regularizer, k, save, seed, dtype, shared.console())
