"""`sweeps covariance`: estimate the covariance of keys ahead of a sweep, here or spread over Ray workers.

Sums over batches merge exactly: how the text is spread over workers changes no bit.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from modelfolder.errors import InputError
from rect import covariance, models
from rect.cache import check_cache
from rect.covariance import Covariance, Recipe
from rect.editors import hyperparameters, second_moment
from rect.editors.memit import MemitHparams
from rect.editors.second_moment import Given
from rect.model import EditableModel
from sweeps.run import covariance_shares, surroundings

log = logging.getLogger(__name__)


def parse_layers(text: str) -> tuple[int, ...]:
    """ "13-17" or "5,17,20": layers counted from 0.

    Raises:
        InputError: it is something else.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise InputError(
                f"--layers {text}: {part.strip()!r} is not a layer or a range of them, such as 5,17 or 13-17"
            )
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def recipe_of(model: str, given: Given, dtype: str = "float32") -> Recipe:
    """What a sweep with MEMIT on this model, and this beside its hyperparameters, will look for."""
    declared = hyperparameters.declared(MemitHparams, None, model)
    for line in second_moment.contradictions(declared, given):
        log.warning("covariance of %s: %s", model, line)
    return second_moment.recipe(MemitHparams, declared, model, given, dtype=dtype)


def compute(
    recipe: Recipe,
    console: Console,
    layers: tuple[int, ...] | None = None,
    workers: int = 1,
    address: str | None = None,
    device: str = "auto",
) -> Path:
    """Have the covariances in the cache, where every sweep with the same settings finds them.

    Args:
        recipe: from which model and text.
        layers: None for those that MEMIT edits in this model.
        workers: processes of Ray that share the text; 1 computes here.
        address: of a Ray cluster, if there are several workers.
        device: of the model: "auto", "cpu", "cuda", ...

    Returns:
        The folder that they lie in.

    Raises:
        InputError: the model, a layer, the text or Ray is not to be had.
    """
    if workers > 1:
        surroundings.cluster_address(address)
    recipe = replace(recipe, content=models.content_of(models.resolve(recipe.model, recipe.revision)))
    model = None
    if layers is None:
        model = covariance_shares.load(recipe, device)
        layers = hyperparameters.resolve(MemitHparams, None, model).layers
        if line := hyperparameters.remark(MemitHparams, None, model.name, model.n_layers):
            log.warning("%s", line)
    missing = recipe.missing(layers)
    if missing:
        check_cache(recipe.folder())
        began = time.monotonic()
        if workers == 1:
            found = _here(model or covariance_shares.load(recipe, device), recipe, missing, console)
        else:
            del model
            console.print(f"layers {missing}: {workers} workers of Ray", highlight=False)
            found = covariance_shares.sharded(recipe, missing, workers, address, device)
        found.save(recipe.folder())
        seconds = time.monotonic() - began
        console.print(f"layers {missing}: {found.tokens} tokens in {seconds:.0f} s", highlight=False)
    there = [layer for layer in layers if layer not in missing]
    if there:
        console.print(f"layers {there}: were there already", highlight=False)
    console.print(f"covariances are in {recipe.folder()}", highlight=False)
    return recipe.folder()


def _here(model: EditableModel, recipe: Recipe, layers: Sequence[int], console: Console) -> Covariance:
    covariance_shares.check(model, layers)
    columns = (TextColumn("tokens"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        return covariance.collect(
            model, recipe, layers, lambda done, total: bar.update(task, completed=done, total=total)
        )
