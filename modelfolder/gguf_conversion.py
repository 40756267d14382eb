"""A GGUF file becomes a model folder: float32 safetensors, config, tokenizer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from modelfolder import gguf, gguf_positions
from modelfolder.errors import InputError, reason
from modelfolder.gguf import Header

log = logging.getLogger(__name__)

QUANTIZED = ("hf_quantizer", "is_quantized", "quantization_method")  # what a model says of itself after loading


def convert(file: Path, folder: Path) -> None:
    """Fill a folder with the model of a GGUF file, its weights dequantized.

    The tokenizer puts the beginning token before a text where the file says so, or its kind does where it is silent.

    Raises:
        InputError: the file cannot be converted (`gguf.check`), or not without loss.
    """
    header = gguf.check(file)
    try:
        hf, tokenizer = _model(header), _tokenizer(header)
    except InputError:
        raise
    except Exception as error:  # from an unknown key to a shape that does not fit
        raise InputError(f"{file}: cannot be converted ({reason(error)})") from error
    tokenizer.model_max_length = hf.config.max_position_embeddings
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _model(header: Header) -> Any:
    import torch
    import transformers

    place, name = header.file.absolute().parent, header.file.name
    config = transformers.AutoConfig.from_pretrained(place, gguf_file=name)
    if config.model_type != gguf.FAMILIES[header.architecture]:
        raise InputError(f"{header.file}: architecture {header.architecture!r} was read as {config.model_type!r}")
    for key, value in gguf.settings(header).items():
        setattr(config, key, value)
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        place, config=config, gguf_file=name, dtype=torch.float32, output_loading_info=True
    )
    hf, info = loaded
    if missing := info["missing_keys"]:
        raise InputError(f"{header.file}: lacks {len(missing)} weights of a {config.model_type} model: {min(missing)}")
    taken = len(list(hf.parameters()))
    if (held := len(header.tensors.keys() - {gguf_positions.TENSOR})) != taken:
        raise InputError(f"{header.file}: holds {held} weights, of which a {config.model_type} model takes {taken}")
    # The weights are dequantized; saving refuses as long as the model says otherwise.
    for owner, key in ((hf.config, "quantization_config"), *((hf, key) for key in QUANTIZED)):
        if hasattr(owner, key):
            delattr(owner, key)
    return hf


def _tokenizer(header: Header) -> Any:
    import transformers

    found: Any = transformers.AutoTokenizer.from_pretrained(header.file.absolute().parent, gguf_file=header.file.name)
    if header.values["tokenizer.ggml.model"] == "llama" and header.architecture not in gguf.GEMMAS:
        found = _as_llama(found)
    wanted, said = gguf.begins(header)
    if wanted:
        _begin(found, header.file)
    if not said and found.bos_token:
        log.warning(
            "%s does not say whether its texts begin with %s: taken to %s, as others of its kind",
            header.file, found.bos_token, "do so" if wanted else "begin without",
        )  # fmt: skip
    return found


def _as_llama(tokenizer: Any) -> Any:
    """SentencePiece as LLaMA has it: a space before every text, before one that begins with a space too.

    The class that transformers takes puts none there; a tokenizer without a class keeps what is set here.
    """
    import transformers
    from tokenizers import normalizers

    core = tokenizer.backend_tokenizer
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.pre_tokenizer = None
    names = {key: getattr(tokenizer, key) for key in ("bos_token", "eos_token", "unk_token", "pad_token")}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        chat_template=tokenizer.chat_template,
        **{k: v for k, v in names.items() if v is not None},
    )


def _begin(tokenizer: Any, file: Path) -> None:
    """Have every text begin with the beginning token, in tokenizer.json itself, which every reader goes by."""
    from tokenizers import processors

    token = tokenizer.bos_token
    if token is None or tokenizer.bos_token_id is None:
        raise InputError(f"{file}: its texts begin with a token that it does not name (tokenizer.ggml.bos_token_id)")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B:1", special_tokens=[(token, tokenizer.bos_token_id)]
    )
