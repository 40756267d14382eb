"""Log-probabilities of given continuations: what an engine answers, and how the texts are cut into tokens for it."""

from __future__ import annotations

from typing import NamedTuple

from tasks.engines.texts import Texts
from tasks.errors import InputError


class Likelihood(NamedTuple):
    """Of a continuation after its prompt.

    logprob: sum of its tokens' log-probabilities (natural logarithm).
    greedy: whether greedy decoding would have produced it.
    """

    logprob: float
    greedy: bool


def split(texts: Texts, prompt: str, continuation: str) -> tuple[list[int], list[int]]:
    """Token ids of prompt and continuation, as the lm-evaluation-harness splits them.

    The two are tokenized as one text and divided where the prompt's own tokens end; spaces at the prompt's end belong
    to the continuation, where most vocabularies have them. A prompt too long for the context loses its left part.

    Raises:
        InputError: a continuation without tokens, or one that fills the context.
    """
    stripped = prompt.rstrip(" ")
    continuation, prompt = prompt[len(stripped) :] + continuation, stripped
    if prompt:
        head, whole = texts.encode([prompt, prompt + continuation])
        tail = whole[len(head) :]
        head = whole[: len(head)]
    else:
        (head,) = texts.encode([""])
        tail = list(texts.tokenizer(continuation, add_special_tokens=False)["input_ids"])
    if not tail:
        raise InputError(f"continuation {continuation!r} has no tokens of its own after the prompt")
    if len(tail) + 1 >= texts.context:
        raise InputError(f"a continuation of {len(tail)} tokens does not fit into max_model_len ({texts.context})")
    return texts.cut(head, len(tail) + 1), tail  # 1: vLLM generates a token besides
