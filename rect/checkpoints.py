"""The difference of two checkpoints of one model, read parameter by parameter."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from modelfolder import loading
from modelfolder.errors import InputError
from modelfolder.tensors import Tensors
from rect import rounding

if TYPE_CHECKING:
    from rect.model import EditableModel

log = logging.getLogger(__name__)


Source: TypeAlias = "str | os.PathLike[str] | EditableModel | Mapping[str, Tensor]"
Reader = Callable[[], Tensor]
Dtypes = tuple[torch.dtype, torch.dtype]


def differences(base: Source, edited: Source) -> Iterator[tuple[str, Tensor]]:
    """(name, edited - base) in float32 for each parameter that differs, in the order of the base.

    Where the two were not rounded alike, which the log says, an element that rounding explains has not changed
    (see `rect.rounding`), and a parameter of such elements alone is left out.

    Raises:
        InputError: other names or shapes, or a folder that is no model.
    """
    before, after = readers(base), readers(edited)
    missing = sorted(before.keys() ^ after.keys())
    if missing:
        side = "edited" if missing[0] in before else "base"
        raise InputError(f"not two checkpoints of one model: {missing[0]!r} is missing in the {side} one")
    explained: dict[Dtypes, rounding.Explanation] = {}
    for name in before:
        old, new = _pair(name, before, after)
        delta = new.float() - old.float()
        dtypes = old.dtype, new.dtype
        if dtypes not in explained:
            explained[dtypes] = why = rounding.explanation(_of_dtypes(dtypes, before, after))
            if old.dtype != new.dtype or why.words:
                names = (str(kind).removeprefix("torch.") for kind in dtypes)
                log.warning("the base is kept in %s, the edited checkpoint in %s: %s", *names, _told(why))
        delta[explained[dtypes].holds(old, new)] = 0
        if bool(delta.any()):
            yield name, delta


def _pair(name: str, before: Mapping[str, Reader], after: Mapping[str, Reader]) -> rounding.Pair:
    """A parameter of both, on the base's device."""
    old, new = before[name](), after[name]()
    if old.shape != new.shape:
        raise InputError(
            f"not two checkpoints of one model: {name} has shape {tuple(old.shape)} and {tuple(new.shape)}"
        )
    return old, new.to(old.device)


def _of_dtypes(dtypes: Dtypes, before: Mapping[str, Reader], after: Mapping[str, Reader]) -> Iterator[rounding.Pair]:
    """The parameters that are kept in these dtypes."""
    for name in before:
        old, new = _pair(name, before, after)
        if (old.dtype, new.dtype) == dtypes:
            yield old, new


def _told(why: rounding.Explanation) -> str:
    if not why.words:
        return "the one was made from the other as it lies there, their difference is exact"
    return f"{why.words}; what such rounding explains is no update, an element that was edited still carries it"


def readers(source: Source) -> dict[str, Reader]:
    """A function per parameter that gives its tensor, under Hugging Face's parameter names."""
    if isinstance(source, (str, os.PathLike)):
        return _folder_readers(Path(source))
    if isinstance(source, Mapping):
        return {name: _constant(tensor) for name, tensor in source.items()}
    return {name: _constant(parameter.data) for name, parameter in source.hf.named_parameters()}


def _constant(tensor: Tensor) -> Reader:
    return lambda: tensor


def _folder_readers(folder: Path) -> dict[str, Reader]:
    """Readers of a model folder's safetensors files, which may leave out the prefix of a name ("h.0..." in GPT-2's)."""
    skeleton, tensors = loading.skeleton(folder), Tensors(folder)
    if skeleton.config.get_text_config().tie_word_embeddings:
        tensors.check_tied()
    found: dict[str, Reader] = {}
    for name, parameter in skeleton.named_parameters():
        shape = tensors.shape(name)
        if shape != tuple(parameter.shape):
            raise InputError(f"{folder}: {name} has shape {shape}, the config says {tuple(parameter.shape)}")
        found[name] = functools.partial(tensors.tensor, name)
    return found
