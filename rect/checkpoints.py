"""The difference of two checkpoints of one model, read parameter by parameter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import safetensors
import torch
import transformers
from torch import Tensor

from rect.errors import InputError

if TYPE_CHECKING:
    from rect.model import EditableModel

    Source: TypeAlias = str | os.PathLike[str] | EditableModel | Mapping[str, Tensor]

Reader = Callable[[], Tensor]

FILE_NAMES = {"lm_head.weight": "embed_out.weight"}  # GPT-NeoX's head is called otherwise in its files


def differences(base: Source, edited: Source) -> Iterator[tuple[str, Tensor]]:
    """(name, edited - base) in float32 for each parameter that differs, in the order of the base.

    Raises:
        InputError: other names or shapes, or a folder that is no model.
    """
    before, after = readers(base), readers(edited)
    missing = sorted(before.keys() ^ after.keys())
    if missing:
        side = "edited" if missing[0] in before else "base"
        raise InputError(f"not two checkpoints of one model: {missing[0]!r} is missing in the {side} one")
    for name, read in before.items():
        old, new = read(), after[name]()
        if old.shape != new.shape:
            raise InputError(
                f"not two checkpoints of one model: {name} has shape {tuple(old.shape)} and {tuple(new.shape)}"
            )
        if not torch.equal(old, new.to(old.device, old.dtype)) or old.dtype != new.dtype:
            delta = new.to(old.device).float() - old.float()
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
    with torch.device("meta"):
        try:
            config = transformers.AutoConfig.from_pretrained(folder)
            skeleton = transformers.AutoModelForCausalLM.from_config(config)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder}: not a model folder ({str(error).strip().splitlines()[0]})") from None
    skeleton.tie_weights()
    places = _places(folder)
    found: dict[str, Reader] = {}
    for name, parameter in skeleton.named_parameters():
        short = name.removeprefix(f"{skeleton.base_model_prefix}.")
        key = next((k for k in (name, short, FILE_NAMES.get(name)) if k in places), None)
        if key is None:
            raise InputError(f"{folder}: its safetensors files do not hold {name}")
        found[name] = _reader(places[key], key, tuple(parameter.shape))
    return found


def _places(folder: Path) -> dict[str, Path]:
    """Which file holds which tensor."""
    places: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safetensors.safe_open(file, "pt") as tensors:
                places.update(dict.fromkeys(tensors.keys(), file))
        except (OSError, safetensors.SafetensorError) as error:
            raise InputError(f"{file}: not a safetensors file ({error})") from None
    if not places:
        raise InputError(f"{folder}: holds no *.safetensors file")
    return places


def _reader(file: Path, key: str, shape: tuple[int, ...]) -> Reader:
    def read() -> Tensor:
        with safetensors.safe_open(file, "pt") as tensors:
            tensor: Tensor = tensors.get_tensor(key)
        if tuple(tensor.shape) != shape:
            raise InputError(f"{file}: {key} has shape {tuple(tensor.shape)}, the config says {shape}")
        return tensor

    return read
