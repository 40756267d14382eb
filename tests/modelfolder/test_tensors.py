"""Which file holds which tensor: one answer, or one line that refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from modelfolder import tensors
from modelfolder.errors import InputError
from modelfolder.tensors import INDEX, WHOLE, Tensors, unplaced
from rect import EditableModel, Update
from tasks.engines.transformers_engine import TransformersEngine
from tests.tiny import save_tiny, tiny_model


def sharded(folder: Path, seed: int = 0) -> Path:
    model, tokenizer = tiny_model("llama", seed)
    model.save_pretrained(folder, max_shard_size="200KB")
    tokenizer.save_pretrained(folder)
    return folder


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def index_of(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    found = json.loads((folder / INDEX).read_text())
    change(found["weight_map"])
    (folder / INDEX).write_text(json.dumps(found))


def twice(folder: Path) -> None:
    tiny_model("llama", 1)[0].save_pretrained(folder)


def stray(folder: Path) -> None:
    (folder / INDEX).unlink()
    safetensors.torch.save_file(safetensors.torch.load_file(shards(folder)[0]), folder / WHOLE)


def in_two_shards(folder: Path) -> None:
    first, second = (safetensors.torch.load_file(file) for file in shards(folder)[:2])
    name = next(iter(first))
    safetensors.torch.save_file({**second, name: first[name] + 1}, shards(folder)[1])


def elsewhere(folder: Path) -> None:
    name, last = next(iter(safetensors.torch.load_file(shards(folder)[0]))), shards(folder)[-1].name
    index_of(folder, lambda places: places.update({name: last}))


def added(folder: Path) -> None:
    index_of(folder, lambda places: places.update(more=shards(folder)[0].name))


def codes(folder: Path) -> None:
    file = shards(folder)[0]
    held = safetensors.torch.load_file(file)
    name = next(n for n in held if n.endswith("weight"))
    safetensors.torch.save_file({**held, name: held[name].to(torch.float8_e4m3fn)}, file)


BROKEN = {
    "whole and shards": (twice, r"holds its weights twice: model.safetensors, and the shards of .*index.json"),
    "shards without an index": (stray, r"model-00001-of-.* beside model.safetensors"),
    "only shards": (lambda folder: (folder / INDEX).unlink(), "neither model.safetensors nor"),
    "a missing shard": (
        lambda folder: shards(folder)[0].unlink(),
        r"lacks model-00001-of-.*, which .*index.json names",
    ),
    "an index that is none": (lambda folder: (folder / INDEX).write_text("[]"), "not an index of shards"),
    "an empty index": (lambda folder: index_of(folder, dict.clear), "weight_map must say"),
    "a tensor in two shards": (in_two_shards, r"twice: in model-00001-of-.* and in model-00002"),
    "a tensor in another shard": (elsewhere, "places .* in .*, which does not hold it"),
    "a tensor in none": (added, "places more in model-00001.*, which does not hold it"),
    "a shard cut short": (lambda folder: shards(folder)[0].write_bytes(b"\x08"), "not a safetensors file"),
    "codes": (codes, "stored as F8_E4M3: quantized weights cannot be edited"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_two_answers_or_none_are_refused_by_every_reader(how: str, tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    change, said = BROKEN[how]
    change(folder)
    for read in (
        lambda: Tensors(folder),
        lambda: EditableModel.load(str(folder)),
        lambda: TransformersEngine(folder, max_model_len=64),
        lambda: Update.between(folder, folder),
    ):
        with pytest.raises(InputError, match=said) as refused:
            read()
        assert "\n" not in str(refused.value)


def test_what_lies_about_beside_an_index_is_read_by_nobody(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    other = {name: torch.full_like(p, 9.0) for name, p in tiny_model("llama")[0].named_parameters()}
    safetensors.torch.save_file(other, folder / "consolidated.safetensors")
    model, name = EditableModel.load(str(folder)), "model.layers.1.mlp.down_proj.weight"
    assert float(model.weight(name).max()) < 9
    assert torch.equal(Tensors(folder).tensor(name), model.weight(name))
    assert "consolidated.safetensors" not in {file.name for file in tensors.files(folder)}


def test_an_index_of_the_whole_file_is_one_answer(tmp_path: Path) -> None:
    folder = save_tiny("gpt2", tmp_path)
    names = Tensors(folder).names()
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, WHOLE)}))
    assert [file.name for file in tensors.files(folder)] == [WHOLE]
    assert Tensors(folder).names() == names


def whole_with(folder: Path, **more: torch.Tensor) -> Path:
    held = safetensors.torch.load_file(folder / WHOLE)
    safetensors.torch.save_file(held | {k.replace("__", "."): v for k, v in more.items()}, folder / WHOLE)
    return folder


def test_ends_that_are_tied_and_saved_apart_must_be_one(tmp_path: Path) -> None:
    folder = save_tiny("gpt2", tmp_path)
    embedding = Tensors(folder).tensor("transformer.wte.weight").clone()
    assert EditableModel.load(str(whole_with(folder, lm_head__weight=embedding)))
    whole_with(folder, lm_head__weight=embedding + 1)
    for read in (lambda: EditableModel.load(str(folder)), lambda: TransformersEngine(folder, max_model_len=64)):
        with pytest.raises(InputError, match="ties the head to the embedding"):
            read()


def test_weights_without_a_place_are_refused_and_constants_are_not(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    whole_with(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(16))
    EditableModel.load(str(folder))
    whole_with(folder, model__layers__0__self_attn__q_proj__bias=torch.ones(64))
    for read in (lambda: EditableModel.load(str(folder)), lambda: TransformersEngine(folder, max_model_len=64)):
        with pytest.raises(InputError, match=r"no place for, such as model.layers.0.self_attn.q_proj.bias"):
            read()


def test_a_bias_is_no_constant_because_its_name_ends_like_one() -> None:
    names = ["h.0.attn.bias", "h.0.attn.masked_bias", "h.0.attn.c_attn.bias", "layers.0.rotary_emb.inv_freq"]
    assert unplaced(names) == ["h.0.attn.c_attn.bias"]


def test_an_engine_fills_nothing_with_random_numbers(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    held = safetensors.torch.load_file(folder / WHOLE)
    del held["model.layers.2.mlp.up_proj.weight"]
    safetensors.torch.save_file(held, folder / WHOLE)
    with pytest.raises(InputError, match=r"lack 1 weights, such as model.layers.2.mlp.up_proj"):
        TransformersEngine(folder, max_model_len=64)


def test_weights_of_another_shape_than_the_configs_are_named(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    for read in (lambda: EditableModel.load(str(folder)), lambda: TransformersEngine(folder, max_model_len=64)):
        with pytest.raises(
            InputError, match=r"mlp.down_proj.weight is \(64, \d+\) in .*, \(64, 96\) by its config.json"
        ):
            read()
    (folder / "config.json").write_text(json.dumps(config | {"rope_scaling": {"rope_type": "odd", "factor": 2.0}}))
    with pytest.raises(InputError, match="KeyError 'odd'"):
        EditableModel.load(str(folder))
