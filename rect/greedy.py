"""The greedy continuation of a prompt, whatever a model's generation config says of sampling and penalties."""

from __future__ import annotations

from typing import Any

import torch

from modelfolder.errors import InputError


@torch.no_grad()
def continuation(hf: Any, tokenizer: Any, prompt: str, max_new_tokens: int) -> str:
    """The most likely token at each step, up to one that ends the text; without the prompt and special tokens.

    Raises:
        InputError: prompt and continuation do not fit into the model's context.
    """
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"].to(hf.device)  # (1, tokens)
    limit = getattr(hf.config, "max_position_embeddings", None)
    if limit is not None and ids.shape[1] + max_new_tokens > limit:
        raise InputError(f"{ids.shape[1]} prompt tokens and {max_new_tokens} new ones exceed the context of {limit}")
    end = hf.generation_config.eos_token_id
    ends = set(end) if isinstance(end, list) else {end}
    given, tokens, cache = ids[0].tolist(), ids[0].tolist(), None
    while len(tokens) < len(given) + max_new_tokens:
        out = hf(input_ids=ids, past_key_values=cache, use_cache=True)
        token = int(out.logits[0, -1].argmax())
        if token in ends:
            break
        tokens.append(token)
        ids, cache = torch.tensor([[token]], device=hf.device), out.past_key_values
    whole, before = (
        tokenizer.decode(each, skip_special_tokens=True, clean_up_tokenization_spaces=False) for each in (tokens, given)
    )
    return str(whole[len(before) :])  # the whole is decoded: a first token alone loses its space
