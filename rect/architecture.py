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
        fused: groups of projections that inference engines keep as one matrix: when one part of a group changes, the
            engine needs all of its parts.
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
    fused: tuple[tuple[str, ...], ...] = ()
    mlp_norm: str | None = None
    transposed: bool = False

    def fused_with(self, name: str) -> tuple[str, ...]:
        """All parameter names of the fused group of the parameter `name`, itself included; without a group only it."""
        for group in self.fused:
            for template in group:
                head, tail = template.split("{}")
                if name.startswith(head) and name.endswith(f"{tail}.weight"):
                    layer = name[len(head) : -len(f"{tail}.weight")]
                    if layer.isdecimal():
                        return tuple(f"{part.replace('{}', layer)}.weight" for part in group)
        return (name,)


_LLAMA = Architecture(
    block="model.layers.{}",
    mlp="model.layers.{}.mlp",
    mlp_in=("model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"),
    mlp_out="model.layers.{}.mlp.down_proj",
    final_norm="model.norm",
    head="lm_head",
    embedding="model.embed_tokens",
    fused=(
        (
            "model.layers.{}.self_attn.q_proj",
            "model.layers.{}.self_attn.k_proj",
            "model.layers.{}.self_attn.v_proj",
        ),
        ("model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"),
    ),
)

_SANDWICHED = dataclasses.replace(_LLAMA, mlp_norm="model.layers.{}.post_feedforward_layernorm")

ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": Architecture(
        block="transformer.h.{}",
        mlp="transformer.h.{}.mlp",
        mlp_in=("transformer.h.{}.mlp.c_fc",),
        mlp_out="transformer.h.{}.mlp.c_proj",
        final_norm="transformer.ln_f",
        head="lm_head",
        embedding="transformer.wte",
        transposed=True,
    ),
    "gptj": Architecture(
        block="transformer.h.{}",
        mlp="transformer.h.{}.mlp",
        mlp_in=("transformer.h.{}.mlp.fc_in",),
        mlp_out="transformer.h.{}.mlp.fc_out",
        final_norm="transformer.ln_f",
        head="lm_head",
        embedding="transformer.wte",
        fused=(("transformer.h.{}.attn.q_proj", "transformer.h.{}.attn.k_proj", "transformer.h.{}.attn.v_proj"),),
    ),
    "gpt_neox": Architecture(
        block="gpt_neox.layers.{}",
        mlp="gpt_neox.layers.{}.mlp",
        mlp_in=("gpt_neox.layers.{}.mlp.dense_h_to_4h",),
        mlp_out="gpt_neox.layers.{}.mlp.dense_4h_to_h",
        final_norm="gpt_neox.final_layer_norm",
        head="lm_head",
        embedding="gpt_neox.embed_in",
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
