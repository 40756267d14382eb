"""Where the parts of a model lie: a table of module paths per model family.

A family is one row of `ARCHITECTURES`. `{}` in a template stands for the layer's number.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from modelfolder.errors import InputError


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Module paths of one model family.

    Attributes:
        block: a transformer block.
        mlp: the whole MLP of a block, whose output goes to the residual stream.
        mlp_in: the projections into the MLP's inner space, one or two (gate and up).
        mlp_out: the projection back, the matrix that ROME and MEMIT edit.
        final_norm, head, embedding: the last norm, the output head, the token embedding.
        mlp_norm: the norm between the MLP's output and the residual stream, in families that have one there.
        transposed: weights in the blocks are stored (in, out), as in GPT-2's Conv1D, not (out, in) as in `nn.Linear`.
    """

    block: str
    mlp: str
    mlp_in: tuple[str, ...]
    mlp_out: str
    final_norm: str
    head: str
    embedding: str
    mlp_norm: str | None = None
    transposed: bool = False


def _family(
    block: str, mlp_in: tuple[str, ...], mlp_out: str, final_norm: str, embedding: str, **more: Any
) -> Architecture:
    """A row of the table: `mlp_in` and `mlp_out` are names within the block's `mlp`; the head is `lm_head`."""
    mlp = f"{block}.mlp"
    into = tuple(f"{mlp}.{name}" for name in mlp_in)
    return Architecture(block, mlp, into, f"{mlp}.{mlp_out}", final_norm, "lm_head", embedding, **more)


_LLAMA = _family("model.layers.{}", ("gate_proj", "up_proj"), "down_proj", "model.norm", "model.embed_tokens")
_SANDWICHED = dataclasses.replace(_LLAMA, mlp_norm="model.layers.{}.post_feedforward_layernorm")

ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": _family("transformer.h.{}", ("c_fc",), "c_proj", "transformer.ln_f", "transformer.wte", transposed=True),
    "gptj": _family("transformer.h.{}", ("fc_in",), "fc_out", "transformer.ln_f", "transformer.wte"),
    "gpt_neox": _family(
        "gpt_neox.layers.{}", ("dense_h_to_4h",), "dense_4h_to_h", "gpt_neox.final_layer_norm", "gpt_neox.embed_in"
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _SANDWICHED,
    "gemma3_text": _SANDWICHED,
}


def of(config: Any) -> Architecture:
    """The architecture of a Hugging Face config, by its `model_type`.

    Raises:
        InputError: the type is not in the table.
    """
    kind = getattr(config, "model_type", None)
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InputError(
            f"model type {kind!r} is not known (known: {known}); to add one, add a row with its module paths to "
            f"ARCHITECTURES in rect/architecture.py"
        )
    return ARCHITECTURES[kind]
