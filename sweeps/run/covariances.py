"""A covariance of keys is computed once in a sweep, by the node that needs it first; others find it in the folder."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from modelfolder import whole_files
from rect import covariance
from rect.covariance import Covariance, Recipe
from rect.model import EditableModel
from sweeps.store.journal import Journal
from sweeps.store.store import Store


def once(
    model: EditableModel,
    recipe: Recipe,
    layers: Sequence[int],
    store: Store,
    journal: Journal,
    alone: Callable[[str, str], AbstractContextManager[None]],
    shared: bool,
) -> Covariance:
    """From this node's cache, from the sweep's folder, or computed while the other workers wait for it.

    Args:
        model: the unedited model.
        recipe, layers: as for `rect.covariance.ensure`.
        store, journal, alone: as a `Workplace` has them.
        shared: whether there are nodes with other caches, for which it is left in the folder.
    """
    recipe = recipe.on(model)
    if recipe.missing(layers):
        with alone(f"covariance/{recipe.folder().name}", uuid.uuid4().hex):
            _fetch(recipe, layers, store)  # what another node left there, or another worker here meanwhile
            if missing := recipe.missing(layers):
                began = time.perf_counter()
                covariance.ensure(model, recipe, missing)
                journal.write("covariance-computed", layers=missing, seconds=round(time.perf_counter() - began, 3))
    if shared:
        _leave(recipe, layers, store)
    return covariance.ensure(model, recipe, layers)


def _name(recipe: Recipe, layer: int) -> str:
    return f"covariance/{recipe.folder().name}/layer-{layer}.safetensors"


def _fetch(recipe: Recipe, layers: Sequence[int], store: Store) -> None:
    for layer in recipe.missing(layers):
        data = store.folder.read_or_none(_name(recipe, layer))
        if data is not None:
            file = recipe.folder() / f"layer-{layer}.safetensors"
            file.parent.mkdir(parents=True, exist_ok=True)
            whole_files.write(file, data)


def _leave(recipe: Recipe, layers: Sequence[int], store: Store) -> None:
    for layer in layers:
        if not store.folder.exists(_name(recipe, layer)):
            data = (recipe.folder() / f"layer-{layer}.safetensors").read_bytes()
            store.folder.write_if_absent(_name(recipe, layer), data)
