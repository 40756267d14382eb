"""The model of a trial's memory: shapes against transformers, activations against what autograd saves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from modelfolder.errors import InputError
from rect import editors
from rect.editors.value_search import search
from rect.facts import Fact
from rect.model import EditableModel
from sweeps.plan import memory
from sweeps.plan.identity import make_plan
from tests.sweeps.small import small_config
from tests.tiny import FAMILIES, save_tiny, tiny_model

GIB = 2**30
LARGE: dict[str, Any] = {
    "7B": transformers.LlamaConfig(),
    "13B": transformers.LlamaConfig(
        hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40
    ),
    "gpt2-xl": transformers.GPT2Config(n_embd=1600, n_layer=48, n_head=25),
}
PARAMETERS = {"7B": 6_738_415_616, "13B": 13_015_864_320, "gpt2-xl": 1_557_611_200}  # as their cards say


def rehearsal(name: str, folder: Path) -> Path:
    """A folder of a large model that is all holes: real names and shapes, no weights."""
    config = LARGE[name]
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    header, end = {}, 0
    for name, parameter in model.named_parameters():
        size = 4 * parameter.numel()
        header[name] = {"dtype": "F32", "shape": list(parameter.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    config.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_those_of_the_model(family: str, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path / "model")
    model = EditableModel(*tiny_model(family))
    found = memory.shapes(folder)
    unique = {p.data_ptr(): p.numel() for p in model.hf.parameters()}
    config = model.hf.config
    cache = model.hf(torch.tensor([[1, 2, 3]]), use_cache=True).past_key_values
    cached = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers) // 3
    assert found.parameters == sum(unique.values())
    assert (found.layers, found.hidden, found.cached) == (model.n_layers, config.hidden_size, cached)
    assert found.inner == math.prod(model.weight(model.mlp_out_name(0)).shape) // config.hidden_size


@pytest.mark.parametrize("name", LARGE)
def test_large_models_are_rehearsed_without_weights(name: str, tmp_path: Path) -> None:
    folder = rehearsal(name, tmp_path / name)
    assert memory.shapes(folder).parameters == PARAMETERS[name]
    with torch.device("meta"):
        hf = transformers.AutoModelForCausalLM.from_config(LARGE[name])
    model = EditableModel(hf, tiny_model("gpt2")[1])
    inner, hidden = memory.shapes(folder).inner, memory.shapes(folder).hidden
    expected = (inner, hidden) if model.architecture.transposed else (hidden, inner)
    assert all(tuple(model.weight(model.mlp_out_name(i)).shape) == expected for i in range(model.n_layers))


def test_what_fits_and_what_does_not(tmp_path: Path) -> None:
    """13B in float32 twice fits on nothing; in bfloat16 on 80 GiB; split over two devices in float32 too."""

    def lines(card: float | None, dtype: str, **engine: Any) -> list[str]:
        config = small_config(
            folder,
            models=[{"name": str(folder), "dtype": dtype}],
            methods=[{"name": "rome", "hparams": {"layers": [17], "v_num_grad_steps": 20}}],
            engine={"name": "vllm", "dtype": dtype, "max_model_len": 1024, **engine},
        )
        plan = make_plan(config, {config.models[0].key: "sha256:holes"})  # the holes are not read
        return memory.told(plan, card)

    folder = rehearsal("13B", tmp_path / "13B")
    for card in (24, 80):
        with pytest.raises(InputError, match=f"13B does not fit on a GPU of {card} GiB: model 48.5, editing"):
            lines(card, "float32")
    with pytest.raises(InputError, match=r"has no room for weights of 24.2 and the cache of one text of 1024 tokens"):
        lines(80, "bfloat16", gpu_memory_utilization=0.3)
    [line] = lines(80, "bfloat16")
    assert "weights 24.2" in line
    assert f"a cache for {int((40 * GIB - 2 * PARAMETERS['13B']) // (2 * 40 * 5120 * 2 * 1024))} texts" in line
    assert "model 48.5" in lines(80, "float32", tensor_parallel_size=2)[0]
    assert "together" in lines(None, "float32")[0]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("wide", [{}, {"inner": 512}, {"hidden": 128}])
def test_activations_are_at_most_what_is_said(
    family: str, wide: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, inner = wide.get("hidden", 64), wide.get("inner", 256)
    sizes = {
        "llama": {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 4, "head_dim": 16},
        "gpt2": {"n_embd": hidden, "n_inner": inner, "n_layer": 4},
    }[family]
    model = EditableModel(*tiny_model(family, **sizes))
    weights = {p.untyped_storage().data_ptr() for p in model.hf.parameters()}
    saved: list[int] = []
    run = search.Tail.run

    def counted(self: Any, delta: torch.Tensor) -> torch.Tensor:
        held: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            found = run(self, delta)
        saved.append(sum(held.values()))
        return found

    monkeypatch.setattr(search.Tail, "run", counted)
    fact = Fact(subject="Albert Einstein", prompt="A film of {} was born in", target="Spain")
    templates = ["{}", *["The answer is. {}"] * 20]
    rows = search._asked(model, fact, templates).rows
    hparams = {"layers": [1], "v_num_grad_steps": 2, "mom2_adjustment": False}
    editors.create("rome", model, hparams, templates).compute(model, [fact])
    assert memory.POSITIONS == search.TOKENS
    positions = sum(row.length - row.lookup for row in rows)
    expected = positions * 2 * (memory.HIDDEN * hidden + memory.INNER * inner) * 4  # two blocks come after layer 1
    assert 0.5 * expected < max(saved) < 1.15 * expected  # less where heads share keys, or the MLP has no gate
