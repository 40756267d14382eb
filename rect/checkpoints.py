"""The difference of two checkpoints of one model, read parameter by parameter."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from modelfolder import loading
from modelfolder.tensors import Tensors
from rect.errors import InputError

if TYPE_CHECKING:
    from rect.model import EditableModel

    Source: TypeAlias = str | os.PathLike[str] | EditableModel | Mapping[str, Tensor]

log = logging.getLogger(__name__)

Reader = Callable[[], Tensor]


def differences(base: Source, edited: Source) -> Iterator[tuple[str, Tensor]]:
    """(name, edited - base) in float32 for each parameter that differs, in the order of the base.

    Where the two are kept in different dtypes, which the log says, an element that rounding explains has not changed:
    the one value rounded to the other's dtype is the other.

    Raises:
        InputError: other names or shapes, or a folder that is no model.
    """
    before, after = readers(base), readers(edited)
    missing = sorted(before.keys() ^ after.keys())
    if missing:
        side = "edited" if missing[0] in before else "base"
        raise InputError(f"not two checkpoints of one model: {missing[0]!r} is missing in the {side} one")
    told = False
    for name, read in before.items():
        old, new = read(), after[name]()
        if old.shape != new.shape:
            raise InputError(
                f"not two checkpoints of one model: {name} has shape {tuple(old.shape)} and {tuple(new.shape)}"
            )
        delta = new.to(old.device).float() - old.float()
        if old.dtype != new.dtype:
            new = new.to(old.device)
            delta[(old.to(new.dtype) == new) | (new.to(old.dtype) == old)] = 0
            if not told:
                told = True
                log.warning(
                    "the base is kept in %s, the edited checkpoint in %s: what rounding explains is no update; an "
                    "element that was edited still carries the rounding",
                    *(str(kind).removeprefix("torch.") for kind in (old.dtype, new.dtype)),
                )
        if bool(delta.any()):
            yield name, delta


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
