"""The model comes back to the bit, and shows what was changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

from modelfolder.errors import InputError
from rect import EditableModel
from rect.update import Dense, LowRank, Update, UpdateError
from tests import tiny

Weights = dict[str, torch.Tensor]


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> EditableModel:
    return EditableModel(*tiny.tiny_model(request.param), name="tiny")


def weights(model: EditableModel) -> Weights:
    return {name: parameter.detach().clone() for name, parameter in model.hf.named_parameters()}


def same(a: Weights, b: Weights) -> bool:
    """To the bit: -0 is not 0 here."""
    return all(torch.equal(a[name].view(torch.uint8), b[name].view(torch.uint8)) for name in a | b)


def random_update(model: EditableModel, seed: int = 0, layers: tuple[int, ...] = (0, 2)) -> Update:
    generator = torch.Generator().manual_seed(seed)
    entries: dict[str, LowRank | Dense] = {}
    for layer in layers:
        rows, cols = model.weight(model.mlp_out_name(layer)).shape
        left, right = torch.randn(rows, 2, generator=generator), torch.randn(2, cols, generator=generator)
        entries[model.mlp_out_name(layer)] = LowRank(left, right)
    name = model.mlp_in_names(1)[0]
    entries[name] = Dense(torch.randn(model.weight(name).shape, generator=generator))
    return Update(entries)


def test_add_adds(model: EditableModel) -> None:
    before, update = weights(model), random_update(model)
    model.add(update)
    model.add(update)
    for name, tensor in before.items():
        expected = tensor + update.dense(name) + update.dense(name) if name in update else tensor
        assert torch.equal(model.weight(name), expected)
        assert torch.equal(model.original(name), tensor)
    assert model.changed().keys() == set(update)


def test_restore_is_exact(model: EditableModel) -> None:
    model.weight(model.mlp_out_name(0))[0, 0] = -0.0  # adding 0 makes this +0
    before = weights(model)
    for seed in range(5):
        model.add(random_update(model, seed))
    zeros = torch.zeros_like(model.weight(model.mlp_out_name(0)))
    model.add(Update({model.mlp_out_name(0): Dense(zeros)}))
    assert not same(weights(model), before)
    model.restore()
    assert same(weights(model), before)
    assert model.changed() == {}
    model.add(random_update(model))
    model.restore()
    assert same(weights(model), before)


def test_edited_puts_back_what_was_there_before(model: EditableModel) -> None:
    untouched = weights(model)
    with model.edited(random_update(model, 1)) as edited:
        assert edited is model
        assert model.changed()
    assert same(weights(model), untouched)
    model.add(random_update(model, 2, layers=(0,)))
    before, digest = weights(model), model.digest()
    with model.edited(random_update(model, 3)), model.edited(random_update(model, 4)):
        assert model.digest() != digest
    assert same(weights(model), before)
    assert model.digest() == digest
    model.restore()
    assert same(weights(model), untouched)


def test_edited_puts_back_after_an_error(model: EditableModel) -> None:
    before = weights(model)
    with pytest.raises(KeyError), model.edited(random_update(model)):
        raise KeyError
    assert same(weights(model), before)


def test_restore_within_edited(model: EditableModel) -> None:
    untouched = weights(model)
    model.add(random_update(model, 1))
    before = weights(model)
    with model.edited(random_update(model, 2)):
        model.restore()
        assert same(weights(model), untouched)
    assert same(weights(model), before)
    model.restore()
    assert same(weights(model), untouched)


def test_the_digest_follows_the_weights(model: EditableModel) -> None:
    nothing = model.digest()
    assert nothing == hashlib.sha256().hexdigest()
    model.add(random_update(model, 1))
    first = model.digest()
    model.add(random_update(model, 2))
    assert len({nothing, first, model.digest()}) == 3
    model.restore()
    assert model.digest() == nothing
    model.add(random_update(model, 1))
    assert model.digest() == first


def test_low_precision_rounds_once() -> None:
    hf, tokenizer = tiny.tiny_model("llama")
    model = EditableModel(hf.to(torch.bfloat16), tokenizer)
    name = model.mlp_out_name(1)
    before, delta = model.weight(name).clone(), torch.randn(64, 160) * 0.01
    model.add(Update({name: Dense(delta)}))
    assert torch.equal(model.weight(name), (before.float() + delta).to(torch.bfloat16))
    assert not torch.equal(model.weight(name), before + delta.to(torch.bfloat16))
    model.restore()
    assert torch.equal(model.weight(name), before)


class TestRefusals:
    def refused(self, model: EditableModel, entries: dict[str, Dense], error: type[Exception], match: str) -> None:
        """Nothing is changed, not even by the good part of the update."""
        before = weights(model)
        good = model.mlp_out_name(0)
        with pytest.raises(error, match=match):
            model.add(Update({good: Dense(torch.ones(model.weight(good).shape)), **entries}))
        assert same(weights(model), before)
        assert model.changed() == {}

    def test_an_unknown_name(self, model: EditableModel) -> None:
        self.refused(model, {"nothing.weight": Dense(torch.ones(2, 2))}, InputError, "tiny has no parameter 'nothing")

    def test_another_shape(self, model: EditableModel) -> None:
        name = model.mlp_out_name(1)
        rows, cols = model.weight(name).shape
        wrong = Dense(torch.ones(cols, rows))
        self.refused(model, {name: wrong}, InputError, rf"{name}: .*\({cols}, {rows}\).*\({rows}, {cols}\)")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_what_is_not_finite(self, model: EditableModel, bad: float) -> None:
        name = model.mlp_out_name(1)
        matrix = torch.zeros(model.weight(name).shape)
        matrix[1, 2] = bad
        self.refused(model, {name: Dense(matrix)}, UpdateError, f"update of {name} holds NaN or infinity")


def test_a_tied_embedding_is_not_edited_by_accident() -> None:
    model = EditableModel(*tiny.tiny_model("gpt2"), name="tiny")
    name = "transformer.wte.weight"
    update = Update({name: Dense(torch.ones(model.weight(name).shape))})
    with pytest.raises(InputError, match=f"{name} is both token embedding and head of tiny"):
        model.add(update)
    with pytest.raises(InputError, match=r"no parameter 'lm_head.weight': its head is tied to transformer.wte.weight"):
        model.weight("lm_head.weight")
    before = model.weight(name).clone()
    model.add(update, tied=True)
    assert torch.equal(model.hf.lm_head.weight, before + 1)
    model.restore()
    assert torch.equal(model.hf.lm_head.weight, before)


def test_an_untied_head_can_be_edited() -> None:
    model = EditableModel(*tiny.tiny_model("llama"))
    model.add(Update({"lm_head.weight": Dense(torch.ones(model.weight("lm_head.weight").shape))}))
    assert list(model.changed()) == ["lm_head.weight"]


@pytest.mark.parametrize(
    ("family", "tokenizer"),
    [*((f, "byte-level") for f in tiny.FAMILIES), ("llama", "metaspace"), ("gptj", "metaspace")],
)
def test_complete_is_the_greedy_continuation(family: str, tokenizer: str) -> None:
    hf, tok = tiny.tiny_model(family, tokenizer=tokenizer)
    model = EditableModel(hf, tok)
    outputs = set()
    for prompt in ("The capital of France is", "Albert Einstein was", "What language", "A film was", "She has 12"):
        inputs = tok(prompt, return_tensors="pt", return_token_type_ids=False)
        reference = hf.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=0)[0]
        whole = tok.decode(reference, skip_special_tokens=True)
        given = tok.decode(inputs["input_ids"][0], skip_special_tokens=True)
        assert given == prompt
        outputs.add(model.complete(prompt, max_new_tokens=8))
        assert prompt + model.complete(prompt, max_new_tokens=8) == whole
    assert len(outputs) >= 4


def test_complete_ignores_sampling_and_penalties_of_the_model() -> None:
    model = EditableModel(*tiny.tiny_model("llama"))
    plain = model.complete("The capital of France is", 12)
    model.hf.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, num_beams=3)
    assert model.complete("The capital of France is", 12) == plain


def test_complete_ends_at_the_end_of_sequence() -> None:
    model = EditableModel(*tiny.tiny_model("llama"))
    assert model.complete("The capital", 3) != ""
    first = int(model.hf(**model.tokenizer("The capital", return_tensors="pt")).logits[0, -1].argmax())
    model.hf.generation_config.eos_token_id = [0, first]
    assert model.complete("The capital", 3) == ""


def test_complete_beyond_the_context() -> None:
    model = EditableModel(*tiny.tiny_model("gpt2"))
    with pytest.raises(InputError, match="exceed the context of 256"):
        model.complete("Paris " * 300)


def test_an_edit_changes_what_is_said(model: EditableModel) -> None:
    before = model.complete("The capital of France is")
    with model.edited(random_update(model)):
        assert model.complete("The capital of France is") != before
    assert model.complete("The capital of France is") == before


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_saved_models_come_back(family: str, tmp_path: Path) -> None:
    model = EditableModel(*tiny.tiny_model(family))
    model.add(random_update(model))
    model.save(tmp_path / "edited")
    again = EditableModel.load(tmp_path / "edited", device="cpu")
    assert again.name == str(tmp_path / "edited")
    assert again.folder == tmp_path / "edited"
    assert same(weights(again), weights(model))
    assert again.complete("The capital of France is") == model.complete("The capital of France is")
    assert again.dtype == torch.float32
    assert not again.hf.training
    assert not any(p.requires_grad for p in again.hf.parameters())


def test_what_can_be_edited(model: EditableModel) -> None:
    names = model.names()
    assert all(model.weight(name).ndim == 2 for name in names)
    assert not any("wte" in name or "embed" in name or "head" in name for name in names)
    for layer in range(model.n_layers):
        assert {model.mlp_out_name(layer), *model.mlp_in_names(layer)} <= set(names)
    assert (model.n_layers, model.hidden_size) == (3, 64)


class TestLoading:
    def test_dtype_and_device(self, tmp_path: Path) -> None:
        tiny.save_tiny("llama", tmp_path)
        model = EditableModel.load(str(tmp_path), dtype="bfloat16")
        assert model.dtype == torch.bfloat16
        assert model.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
        with pytest.raises(InputError, match="dtype 'float31' is not known; one of: float32, bfloat16"):
            EditableModel.load(str(tmp_path), dtype="float31")
        with pytest.raises(InputError, match="device 'tpu9' cannot be used"):
            EditableModel.load(str(tmp_path), device="tpu9")
        with pytest.raises(InputError, match="device 'cuda:77' cannot be used"):
            EditableModel.load(str(tmp_path), device="cuda:77")

    def test_an_unknown_family(self, tmp_path: Path) -> None:
        transformers.BertConfig().save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").touch()
        with pytest.raises(InputError, match="model type 'bert' is not known"):
            EditableModel.load(str(tmp_path))

    def test_a_broken_config(self, tmp_path: Path) -> None:
        tiny.save_tiny("llama", tmp_path)
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(InputError, match=r"cannot read the model's config.json"):
            EditableModel.load(str(tmp_path))

    def test_a_truncated_file(self, tmp_path: Path) -> None:
        file = tiny.save_tiny("llama", tmp_path) / "model.safetensors"
        file.write_bytes(file.read_bytes()[:5000])
        with pytest.raises(InputError, match="not a safetensors file"):
            EditableModel.load(str(tmp_path))

    def test_missing_weights_are_not_made_up(self, tmp_path: Path) -> None:
        file = tiny.save_tiny("llama", tmp_path) / "model.safetensors"
        tensors = safetensors.torch.load_file(file)
        del tensors["model.layers.1.mlp.down_proj.weight"]
        safetensors.torch.save_file(tensors, file, {"format": "pt"})
        with pytest.raises(InputError, match=r"lack 1 weights, such as model.layers.1.mlp.down_proj.weight"):
            EditableModel.load(str(tmp_path))

    def test_code_of_the_model_is_not_run(self, tmp_path: Path) -> None:
        tiny.save_tiny("llama", tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\n")
        with pytest.raises(InputError, match="trust_remote_code"):
            EditableModel.load(str(tmp_path))
        assert not (tmp_path / "ran").exists()
