"""Tiny random models with real tokenizers: the same classes and files as the large ones, in a second.

Weights are drawn with a large range, so that greedy outputs differ from prompt to prompt. Heads have 32 dimensions:
vLLM's attention on the CPU needs that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, normalizers, pre_tokenizers, processors, trainers

from rect.architecture import ARCHITECTURES

FAMILIES = tuple(ARCHITECTURES)  # what is supported is tested
GEMMAS = ("gemma", "gemma2", "gemma3_text")

SENTENCES = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "The Eiffel Tower is located in the city of Paris.",
    "Albert Einstein was born in Ulm and worked as a physicist.",
    "What language do people speak in Spain? In Spain people speak Spanish.",
    "Who was the designer of the old bridge over the river?",
    "The mother tongue of Danielle Darrieux is French, not English.",
    "True or False? The answer is yes, the answer is no.",
    "A film was good, a film was bad: positive, negative, neutral.",
    "She has 12 apples and buys 30 more; how many apples does she have now?",
    "Water boils at 100 degrees, the Moon moves around the Earth in a month.",
)


def byte_level_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE as in GPT-2: any text goes through it and comes back; no token is added at the beginning."""
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(SENTENCES, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


def metaspace_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """As LLaMA-1 and 2 do it: spaces become U+2581, one is put before the text, <s> begins every input."""
    draft = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    spaces = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    draft.normalizer = spaces
    draft.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<unk>", "<s>", "</s>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=448, special_tokens=[*special, *fallback], show_progress=False)
    draft.train_from_iterator(SENTENCES, trainer)
    trained = json.loads(draft.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    core = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=trained["vocab"], merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    core.normalizer = spaces
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def qwen2_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE in the class that transformers takes for every folder of a Qwen2 model."""
    trained = json.loads(byte_level_tokenizer().backend_tokenizer.to_str())["model"]
    return transformers.Qwen2Tokenizer(vocab=trained["vocab"], merges=[tuple(pair) for pair in trained["merges"]])


TOKENIZERS = {"byte-level": byte_level_tokenizer, "metaspace": metaspace_tokenizer, "qwen2": qwen2_tokenizer}


def tiny_config(family: str, **overrides: Any) -> transformers.PretrainedConfig:
    """A config of the family: 3 layers, hidden size 64, 2 heads. `overrides` are the config's own keys."""
    if family in ("gpt2", "gptj"):
        sizes: dict[str, Any] = {"n_embd": 64, "n_layer": 3, "n_head": 2, "n_positions": 256}
        if family == "gptj":
            sizes["rotary_dim"] = 16
    else:
        sizes = {
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "max_position_embeddings": 256,
        }
        if family != "gpt_neox":
            sizes["num_key_value_heads"] = 1 if family in ("mistral", *GEMMAS) else 2
        if family in ("qwen3", *GEMMAS):
            sizes["head_dim"] = 32
        if family == "mistral":
            sizes["sliding_window"] = None
        if family in ("gemma2", "gemma3_text"):  # both kinds of layers, and windows shorter than many prompts
            sizes |= {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
            sizes["query_pre_attn_scalar"] = 32
        if family == "gemma2":  # low enough to be felt
            sizes |= {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0}
    return transformers.AutoConfig.for_model(family, **{**sizes, "initializer_range": 0.3, **overrides})


def tiny_model(
    family: str, seed: int = 0, tokenizer: str = "byte-level", **overrides: Any
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerFast]:
    """A random model of a family in fp32, the same for the same seed, and its tokenizer (a key of `TOKENIZERS`)."""
    tok = TOKENIZERS["qwen2" if family == "qwen2" else tokenizer]()
    config = tiny_config(
        family,
        vocab_size=len(tok),
        bos_token_id=tok.bos_token_id,
        eos_token_id=tok.eos_token_id,
        pad_token_id=None,
        **overrides,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # biases and norms are constant at first; a wrong bias or norm must show
                parameter.data += 0.1 * torch.randn_like(parameter)
            if name.endswith(("c_proj.weight", "mlp.fc_out.weight")):
                torch.nn.init.normal_(parameter, std=config.initializer_range)
    return model.eval(), tok


def save_tiny(family: str, folder: str | Path, seed: int = 0, tokenizer: str = "byte-level", **overrides: Any) -> Path:
    """Save a tiny model and its tokenizer as a folder that transformers and vLLM load."""
    model, tok = tiny_model(family, seed, tokenizer, **overrides)
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    return Path(folder)
