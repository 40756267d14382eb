"""Covariance of keys: C = E[k k^T], where k is the input of an MLP's output projection, over plain text, not centred.

ROME and MEMIT weigh directions by how much the model uses them. One pass over the text collects all wanted layers and
ends after the last of them. About ten tokens per dimension of k are enough (arXiv 2506.04226: 2-10); the customary
100,000 texts can be asked for.

Sums are exact in this sense: the contribution of each batch is rounded to a multiple of `QUANTUM`, and multiples of it
add without rounding in float64 (up to 2^33). So batches may be spread over any number of workers, and merged in any
order and grouping, and give the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modelfolder.errors import InputError
from rect.cache import check_cache
from rect.exclusive import exclusive
from rect.hooks import Stop, stop
from rect.key_covariance import Covariance
from rect.model import EditableModel
from rect.recipe import Recipe

log = logging.getLogger(__name__)

QUANTUM = 2.0**-20

Progress = Callable[[int, int | None], None]


@dataclasses.dataclass
class Sums:
    """Sums over some tokens: their number, and the sum of k k^T by layer, (dimension, dimension), float64."""

    tokens: int
    layers: dict[int, Tensor]

    def __add__(self, other: Sums) -> Sums:
        """Both together. Any order and grouping gives the same bits."""
        if not self.tokens or not other.tokens:
            return other if not self.tokens else self
        return Sums(self.tokens + other.tokens, {layer: s + other.layers[layer] for layer, s in self.layers.items()})


def dimension(model: EditableModel, layer: int) -> int:
    """Dimension of the keys of a layer."""
    return model.weight(model.mlp_out_name(layer)).shape[0 if model.architecture.transposed else 1]


@exclusive
@torch.no_grad()
def accumulate(
    model: EditableModel,
    layers: Sequence[int],
    rows: Iterable[Sequence[Sequence[int]]],
    progress: Progress | None = None,
    total: int | None = None,
    precision: str = "float32",
) -> Sums:
    """Sum k k^T over batches of tokens: one pass for all layers, which ends after the last of them.

    Args:
        model: the model.
        layers: the layers.
        rows: batches, each of rows of one length.
        progress: called after each batch with the tokens so far and `total`.
        total: how many tokens are expected.
        precision: of keys and of their products in one batch, float32 or float64.
    """
    dtype = torch.float64 if precision == "float64" else torch.float32
    sizes = {layer: dimension(model, layer) for layer in layers}
    zeros = {layer: torch.zeros(n, n, dtype=torch.float64, device=model.device) for layer, n in sizes.items()}
    sums = Sums(0, zeros)
    for batch in rows:  # the model itself may be asked for them: no hook is there while it is
        ids = torch.tensor(batch, device=model.device)  # (rows, length)
        with _adding(model, sums, dtype), contextlib.suppress(Stop):
            model.hf.base_model(ids, use_cache=False)
        sums.tokens += ids.numel()
        if progress is not None:
            progress(sums.tokens, total)
    return sums


@contextlib.contextmanager
def _adding(model: EditableModel, sums: Sums, dtype: torch.dtype) -> Iterator[None]:
    """Within it a pass of the model adds to the sums, and ends after the last of their layers."""
    with contextlib.ExitStack() as hooks:
        for layer, total in sums.layers.items():
            module = model.module(model.path(model.architecture.mlp_out, layer))
            hooks.enter_context(module.register_forward_pre_hook(_adder(total, dtype)))
        last = model.module(model.path(model.architecture.mlp_out, max(sums.layers)))
        hooks.enter_context(last.register_forward_pre_hook(stop))  # after the sum is taken
        yield


def _adder(total: Tensor, dtype: torch.dtype) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        keys = inputs[0].flatten(0, -2).to(dtype)  # (tokens, dimension)
        product = (keys.T @ keys).double()
        total.add_(product.div_(QUANTUM).round_().mul_(QUANTUM))

    return hook


def collect(
    model: EditableModel, recipe: Recipe, layers: Sequence[int], progress: Progress | None = None
) -> Covariance:
    """Compute the covariance of some layers, here and now.

    Raises:
        InputError: the corpus cannot be read or is empty.
    """
    recipe = recipe.on(model)
    n = max(dimension(model, layer) for layer in layers)
    rows = recipe.batches(model, n)
    if recipe.corpus.sampled:
        tokens, name = recipe.wanted(n), model.name
        log.warning("covariance: %s samples %d tokens of text for it, which takes some minutes on a CPU", name, tokens)
    return finish(accumulate(model, layers, rows, progress, recipe.wanted(n), recipe.precision), recipe)


def finish(sums: Sums, recipe: Recipe) -> Covariance:
    """The means, from the sums over all batches.

    Raises:
        InputError: there was no text.
    """
    if not sums.tokens:
        raise InputError(f"corpus {recipe.corpus.source!r}: no text in it")
    return Covariance({layer: s / sums.tokens for layer, s in sums.layers.items()}, sums.tokens, recipe.identity)


def ensure(
    model: EditableModel,
    recipe: Recipe,
    layers: Sequence[int],
    root: Path | None = None,
    progress: Progress | None = None,
) -> Covariance:
    """The covariance of some layers: from the cache as far as it is there, else computed (said aloud) and kept there.

    Args:
        model: the unedited model.
        recipe: from what.
        layers: the layers.
        root: folder of the cache.
        progress: called with (tokens done, tokens wanted).

    Raises:
        InputError: the recipe is for another model's content, or the corpus cannot be read.
    """
    recipe = recipe.on(model)
    folder = recipe.folder(root)
    missing = recipe.missing(layers, root)
    if missing:
        if model.changed():
            raise ValueError(f"{model.name} is edited: covariances are those of the unedited model")
        check_cache(folder)
        wanted = recipe.wanted(max(dimension(model, layer) for layer in missing))
        log.warning("covariance of layers %s is not in %s: it is computed now", missing, folder)
        collect(model, recipe, missing, _Announce(wanted, progress)).save(folder)
    return Covariance.load(folder, layers)


class _Announce:
    """Says after the first batch how long it will take, and passes progress on."""

    def __init__(self, wanted: int | None, progress: Progress | None) -> None:
        self.start, self.wanted, self.progress, self.said = time.monotonic(), wanted, progress, False

    def __call__(self, tokens: int, total: int | None) -> None:
        if not self.said:
            self.said = True
            speed = tokens / max(time.monotonic() - self.start, 1e-9)
            if self.wanted is None:
                log.warning("covariance: %.0f tokens a second, over the whole corpus", speed)
            else:
                seconds = max(self.wanted - tokens, 0) / speed
                log.warning("covariance: %d tokens, about %.1f minutes", self.wanted, seconds / 60)
        if self.progress is not None:
            self.progress(tokens, total)
