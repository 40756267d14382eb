"""What a folder's config.json says of the model, and what of it can be used here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError, reason

if TYPE_CHECKING:
    from transformers import PretrainedConfig

QUANTIZED = ("quantization_config", "compression_config")  # keys of config.json, at any depth
QUANTIZED_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json", "quantization_config.json")


def read(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        InputError: there is none, or it is no JSON object.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"{folder}: not a model folder (it has no config.json)")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot read the model's config.json ({reason(error)})") from None
    if not isinstance(found, dict):
        raise InputError(f"{file}: a JSON object was expected, not {type(found).__name__}")
    return found


def check(folder: Path) -> None:
    """Raise InputError for a folder whose model cannot be used, as far as small files say so.

    Quantized weights are codes, not numbers that an update can be added to; an adapter is no model.
    """
    where = f"{folder / 'config.json'}: {key}" if (key := _quantized(read(folder))) else None
    for name in QUANTIZED_FILES:
        where = where or (str(folder / name) if (folder / name).is_file() else None)
    if where is not None:
        raise InputError(f"{where}: quantized weights cannot be edited; take the model in float32, bfloat16 or float16")
    if (folder / "adapter_config.json").is_file():
        raise InputError(f"{folder / 'adapter_config.json'}: an adapter; merge it into its model and save that")


def _quantized(config: Any, path: str = "") -> str | None:
    """Where a config says that the weights are quantized, and how."""
    parts = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in parts:
        here = f"{path}.{key}" if path else str(key)
        if key in QUANTIZED and value:
            method = value.get("quant_method") if isinstance(value, dict) else None
            return f"{here} ({method})" if method else here
        if found := _quantized(value, here):
            return found
    return None


def load(folder: Path, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """The config as transformers reads it, checked.

    Raises:
        InputError: it cannot be read, or the model cannot be used.
    """
    import transformers

    check(folder)
    try:
        found: PretrainedConfig = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # from an unknown key to a missing package
        raise InputError(f"{folder}: cannot read the model's config.json ({reason(error)})") from error
    return found


def attention(config: PretrainedConfig) -> str | None:
    """The implementation of attention that computes what the config says; None where the default one does.

    torch's scaled dot product attention has no cap on scores: Gemma 2's would be left out without a word.
    """
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    return "eager" if capped else None
