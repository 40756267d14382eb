"""Log-probabilities of given continuations: what an engine answers, and how the texts are cut into tokens for it."""

from __future__ import annotations

from typing import NamedTuple

from modelfolder.errors import InputError
from tasks.engines.texts import Texts


class Likelihood(NamedTuple):
    """Of a continuation after its prompt.

    logprob: sum of its tokens' log-probabilities (natural logarithm).
    greedy: whether greedy decoding would have produced it.
    """

    logprob: float
    greedy: bool


def split(texts: Texts, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Token ids of context and continuation, as the lm-evaluation-harness has them (`TemplateLM`, 0.4.13).

    White space at the context's end goes to the continuation. The context is tokenized alone and the two as one text;
    of the latter the continuation has what lies behind as many tokens as the context has. An empty context is the
    token that begins a text, and the continuation stands alone.

    Raises:
        InputError: nothing is left for one of the two.
    """
    given = continuation
    if not context:
        tail = texts.ids(continuation, special=False)
        head, tail = (tail[:1], tail[1:]) if tail[:1] == [texts.first] else ([texts.first], tail)
    else:
        stripped = context.rstrip()
        continuation = context[len(stripped) :] + continuation
        head = texts.ids(stripped)
        tail = texts.ids(stripped + continuation)[len(head) :]
        if not head:
            raise InputError(f"context {context[:80]!r} has no tokens: it is white space alone")
    if not tail:
        raise InputError(f"continuation {given[:80]!r} has no tokens of its own after the prompt")
    return head, tail


def fitted(head: list[int], tail: list[int], limit: int) -> tuple[tuple[list[int], list[int]], bool]:
    """The row without as much of its left part as a model of `limit` tokens cannot read, and whether that is anything.

    The last token of the tail is asked for and not read: limit + 1 tokens fit.

    Raises:
        InputError: the tail alone does not fit.
    """
    if len(tail) > limit:
        raise InputError(f"a continuation of {len(tail)} tokens does not fit into max_model_len ({limit})")
    beyond = len(head) + len(tail) - (limit + 1)
    return (head[max(beyond, 0) :], tail), beyond > 0
