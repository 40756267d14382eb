"""The model of a folder, loaded in one place for the edited model and for the engine that runs on transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfolder import config as configs
from modelfolder.errors import InputError, reason
from modelfolder.tensors import Tensors, unplaced

if TYPE_CHECKING:
    import torch


def causal_lm(folder: Path, dtype: torch.dtype, *, trust_remote_code: bool = False) -> Any:
    """A causal language model on the CPU, as its config and its safetensors files say.

    Raises:
        InputError: it cannot be loaded, or config and files do not fit: weights are missing or of another shape (they
            would be random), are there without a place (they would be left out), or differ though they are tied.
    """
    import transformers

    config = configs.load(folder, trust_remote_code=trust_remote_code)
    tensors = Tensors(folder)
    if config.get_text_config().tie_word_embeddings:
        tensors.check_tied()
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=configs.attention(config),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except Exception as error:  # from an unknown key to a missing package
        raise InputError(f"{folder}: cannot load the model ({reason(error)})") from error
    model, info = loaded
    if other := info["mismatched_keys"]:
        name, found, wanted = min(other)
        raise InputError(
            f"{folder}: {name} is {tuple(found)} in its safetensors files, {tuple(wanted)} by its config.json"
        )
    if missing := info["missing_keys"]:
        raise InputError(f"{folder}: its safetensors files lack {len(missing)} weights, such as {min(missing)}")
    if extra := unplaced(info["unexpected_keys"]):
        raise InputError(
            f"{folder}: its safetensors files hold {len(extra)} weights that the model of its config.json has no place "
            f"for, such as {extra[0]}"
        )
    return model


def skeleton(folder: Path) -> Any:
    """The model without weights: names and shapes of its parameters.

    Raises:
        InputError: no such model folder.
    """
    import torch
    import transformers

    config = configs.load(folder)
    try:
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
    except Exception as error:
        raise InputError(f"{folder}: not a model folder ({reason(error)})") from None
    model.tie_weights()
    return model
