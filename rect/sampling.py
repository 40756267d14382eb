"""Text that a model samples itself: what stands in for a corpus where none is at hand.

Each row begins with the token that begins texts and goes on at temperature 1, over the whole vocabulary: the model's
own distribution, whatever it was trained on. A seed decides every token, so that rows are the same for whoever asks for
them on the same kind of machine; elsewhere rounding may tip a draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError

if TYPE_CHECKING:
    import torch

    from rect.model import EditableModel

VERSION = "1"
LENGTH = 128  # tokens in a row: many short rows at a time take fewer steps than few long ones
TOKENS = 14_000  # as many as kept two small models whole (docs/editing.md) ...
PER_DIMENSION = 5  # ... and so many per dimension of a key at least, for larger ones


def wanted(dimension: int) -> int:
    """How many tokens are sampled for keys of a dimension unless a number is given."""
    return max(TOKENS, PER_DIMENSION * dimension)


def batches(
    model: EditableModel, tokens: int, length: int, cap: int, seed: int, first: int = 0, step: int = 1
) -> Iterator[list[list[int]]]:
    """Sampled rows of one length, in batches of at most `cap` tokens; `tokens` in all, rounded up to whole rows.

    Each batch has its own seed, so a worker that takes every `step`-th from the `first` on samples no other.

    Raises:
        InputError: the tokenizer has no token that begins or ends a text.
    """
    import torch

    rows, together = -(-tokens // length), max(cap // length, 1)
    for index in range(first, -(-rows // together), step):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        yield rows_of(model, min(together, rows - index * together), length, generator)


def rows_of(model: EditableModel, n: int, length: int, generator: torch.Generator) -> list[list[int]]:
    """So many rows of sampled tokens, each with its beginning as long as `length`."""
    import torch

    ids = torch.tensor([beginning(model.tokenizer)] * n)  # (rows, tokens so far)
    cache = None
    with torch.no_grad():
        while ids.shape[1] < length:
            new = ids if cache is None else ids[:, -1:]
            out = model.hf(new.to(model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            total = out.logits[:, -1].cpu().double().softmax(-1).cumsum(-1)  # (rows, vocabulary)
            drawn = torch.rand(n, 1, generator=generator, dtype=torch.float64) * total[:, -1:]
            choice = torch.searchsorted(total, drawn, right=True).clamp(max=total.shape[1] - 1)
            ids = torch.cat([ids, choice], dim=1)
    return ids[:, :length].tolist()


def beginning(tokenizer: Any) -> list[int]:
    """What texts begin with: what the tokenizer puts before one, else its BOS token, else its EOS token, which divides
    texts where there is no other.

    Raises:
        InputError: it has none of them.
    """
    put = list(tokenizer("")["input_ids"])
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if not put and token is None:
        raise InputError("corpus self: the tokenizer has no token that begins or ends a text: name another corpus")
    return put or [token]
