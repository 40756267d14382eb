"""Tiny models as GGUF files, written with the `gguf` package the way llama.cpp's converter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import trainers

from modelfolder.config import attention
from tests import tiny

ARCHITECTURES = {"gemma3_text": "gemma3"}  # where a file's word is not transformers'
NAMES = {  # parts of parameters' names, llama.cpp's after transformers'
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
PLAIN_NORMS = {"post_attention_layernorm": "ffn_norm"}
SANDWICHED_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def gemma_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """As Gemma does it: SentencePiece's marks for spaces, none put before a text; merges in the order of the tokens."""
    spaces = tokenizers.normalizers.Replace(" ", "▁")
    draft = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    draft.normalizer = spaces
    draft.pre_tokenizer = tokenizers.pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=448, special_tokens=[*special, *fallback], show_progress=False)
    draft.train_from_iterator(tiny.SENTENCES, trainer)
    trained = json.loads(draft.to_str())["model"]
    found = transformers.GemmaTokenizer(vocab=trained["vocab"], merges=[tuple(pair) for pair in trained["merges"]])
    found.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", found.bos_token_id)]
    )
    return found


TOKENIZERS = {
    "llama": tiny.metaspace_tokenizer,
    "qwen2": tiny.qwen2_tokenizer,
    "qwen3": tiny.qwen2_tokenizer,
    "gpt2": tiny.byte_level_tokenizer,
    "gemma2": gemma_tokenizer,
    "gemma3_text": gemma_tokenizer,
}
SPLITS = {"qwen2": "qwen2", "qwen3": "qwen2", "gpt2": "gpt-2"}


def original(family: str, seed: int = 0, **overrides: Any) -> tuple[Any, Any]:
    """A random model of a family and its tokenizer, as `tiny.tiny_model` has it, with the family's own pattern of
    layers.
    """
    tokenizer = TOKENIZERS[family]()
    sizes: dict[str, Any] = {"num_hidden_layers": 7, "layer_types": None} if family == "gemma3_text" else {}
    if family == "gemma2":
        sizes |= {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0}
    config = tiny.tiny_config(
        family,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        **{**sizes, **overrides},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation=attention(config)
        )
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval(), tokenizer


def write(
    file: Path,
    model: Any,
    tokenizer: Any,
    quantized: bool = False,
    begins: bool | None = None,
    extra: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
    tensors: dict[str, np.ndarray] | None = None,
) -> Path:
    """Write a model as a file: matrices in Q8_0 or all in F32.

    Args:
        begins: what the file says of its texts' beginning; None says nothing.
        extra: more keys, or other values of keys.
        without: tensors to leave out.
        tensors: more of them.
    """
    config = model.config
    family = config.model_type
    writer = gguf.GGUFWriter(file, ARCHITECTURES.get(family, family))
    keys = {**_sizes(config), **_vocabulary(tokenizer, family)}
    if begins is not None:
        keys["tokenizer.ggml.add_bos_token"] = begins
    for key, value in {**keys, **(extra or {})}.items():
        _add(writer, key.replace("{arch}", ARCHITECTURES.get(family, family)), value)
    for name, parameter in model.named_parameters():
        its = file_name(name, family)
        if its in without:
            continue
        data = stored(name, parameter.detach(), config).numpy()
        if quantized and data.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(its, gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(its, np.ascontiguousarray(data))
    for name, data in (tensors or {}).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    kinds.get(type(value), writer.add_array)(key, value)


def _sizes(config: Any) -> dict[str, Any]:
    if config.model_type == "gpt2":
        return {
            "{arch}.context_length": config.n_positions,
            "{arch}.embedding_length": config.n_embd,
            "{arch}.block_count": config.n_layer,
            "{arch}.feed_forward_length": config.n_inner or 4 * config.n_embd,
            "{arch}.attention.head_count": config.n_head,
            "{arch}.attention.layer_norm_epsilon": config.layer_norm_epsilon,
        }
    rope = config.rope_parameters
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    found = {
        "{arch}.context_length": config.max_position_embeddings,
        "{arch}.embedding_length": config.hidden_size,
        "{arch}.block_count": config.num_hidden_layers,
        "{arch}.feed_forward_length": config.intermediate_size,
        "{arch}.attention.head_count": config.num_attention_heads,
        "{arch}.attention.head_count_kv": config.num_key_value_heads,
        "{arch}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "{arch}.attention.key_length": size,
        "{arch}.rope.freq_base": float(rope.get("full_attention", rope)["rope_theta"]),
    }
    if config.model_type == "llama":
        found |= {"{arch}.rope.dimension_count": size, "{arch}.vocab_size": config.vocab_size}
    if config.model_type in tiny.GEMMAS:
        found["{arch}.attention.sliding_window"] = config.sliding_window
    if config.model_type == "gemma2":
        found["{arch}.attn_logit_softcapping"] = config.attn_logit_softcapping
        found["{arch}.final_logit_softcapping"] = config.final_logit_softcapping
    return found


def _vocabulary(tokenizer: Any, family: str) -> dict[str, Any]:
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = {**core["model"]["vocab"], **{one["content"]: one["id"] for one in core["added_tokens"]}}
    tokens = sorted(vocab, key=lambda token: vocab[token])
    special = {one["content"] for one in core["added_tokens"] if one["special"]}
    found: dict[str, Any] = {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [
            3 if token in special else 6 if token.startswith("<0x") else 1 for token in tokens
        ],
        "tokenizer.ggml.eos_token_id": tokenizer.eos_token_id,
    }
    if tokenizer.bos_token_id is not None:
        found["tokenizer.ggml.bos_token_id"] = tokenizer.bos_token_id
    if tokenizer.unk_token_id is not None:
        found["tokenizer.ggml.unknown_token_id"] = tokenizer.unk_token_id
    if family in SPLITS:
        merges = [" ".join(pair) for pair in core["model"]["merges"]]
        return {
            **found,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": SPLITS[family],
            "tokenizer.ggml.merges": merges,
        }
    scores = [-1000.0 if token in special else -float(number) for number, token in enumerate(tokens)]
    return {
        **found,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": family not in tiny.GEMMAS,
    }


def file_name(name: str, family: str) -> str:
    """llama.cpp's name of a parameter."""
    norms = SANDWICHED_NORMS if family in tiny.GEMMAS else PLAIN_NORMS
    prefix, layered, rest = "", "", name
    for head in ("model.layers.", "transformer.h."):
        if name.startswith(head):
            layered, rest = name.removeprefix(head).split(".", 1)
            prefix = f"blk.{layered}."
    stem, kind = rest.rsplit(".", 1)
    return f"{prefix}{ {**NAMES, **norms}[stem] }.{kind}".replace(" ", "")


def stored(name: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    """A parameter as the file has it.

    Llama's queries and keys have the halves of each head interleaved, Gemma's norms are 1 + w, GPT-2's matrices are
    (out, in).
    """
    if config.model_type == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        halves = weight.view(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
        return halves.transpose(1, 2).reshape(weight.shape).contiguous()
    if config.model_type in tiny.GEMMAS and "norm" in name:
        return weight + 1
    if config.model_type == "gpt2" and ".h." in name and weight.ndim == 2:
        return weight.T.contiguous()
    return weight
