"""The table of architectures against real models of each family."""

from __future__ import annotations

import pytest
import torch
import transformers

from modelfolder.errors import InputError
from rect import EditableModel, architecture
from tests import tiny


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_path_leads_to_the_part(family: str) -> None:
    hf, _ = tiny.tiny_model(family)
    parts = architecture.of(hf.config)
    assert hf.get_submodule(parts.embedding) is hf.get_input_embeddings()
    assert hf.get_submodule(parts.head) is hf.get_output_embeddings()
    block = hf.get_submodule(parts.block.replace("{}", "1"))
    mlp = hf.get_submodule(parts.mlp.replace("{}", "1"))
    out = hf.get_submodule(parts.mlp_out.replace("{}", "1"))
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        hf.get_submodule(parts.final_norm).register_forward_hook(lambda *a: seen.update(norm=a[2])),
        hf.get_submodule(parts.head).register_forward_pre_hook(lambda m, x: seen.update(head=x[0])),
        mlp.register_forward_hook(lambda *a: seen.update(mlp=a[2])),
        out.register_forward_hook(lambda *a: seen.update(out=a[2], inner=a[1][0])),
        block.register_forward_hook(lambda *a: seen.update(block=a[2] if isinstance(a[2], torch.Tensor) else a[2][0])),
    ]
    for template in parts.mlp_in:
        hf.get_submodule(template.replace("{}", "1")).register_forward_hook(lambda *a: seen.update(into=a[2]))
    with torch.no_grad():
        hidden = hf(torch.tensor([[5, 6, 7]]), output_hidden_states=True).hidden_states
    for hook in hooks:
        hook.remove()
    assert torch.equal(seen["norm"], seen["head"])  # the final norm's output is what the head reads
    assert torch.equal(seen["mlp"], seen["out"])  # the MLP ends with its output projection
    assert torch.equal(seen["block"], hidden[2])
    inner, size = seen["into"].shape[-1], hf.config.hidden_size
    assert seen["inner"].shape[-1] == inner
    assert tuple(out.weight.shape) == ((inner, size) if parts.transposed else (size, inner))


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'bert' is not known \(known: gpt2, gptj,.*add a row .*ARCHITECTURES"):
        architecture.of(transformers.BertConfig())


def test_a_layer_that_is_not_there() -> None:
    model = EditableModel(*tiny.tiny_model("llama"), name="tiny")
    for layer in (-1, 3):
        with pytest.raises(InputError, match=f"layer {layer} is not there: tiny has layers 0 to 2"):
            model.mlp_out_name(layer)
