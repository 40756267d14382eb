"""What a folder says of its model is refused in one line where it cannot be used, and computed as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from modelfolder import config as configs
from modelfolder.errors import InputError
from rect import EditableModel, models
from sweeps.plan.identity import make_plan
from tasks.engines.transformers_engine import TransformersEngine
from tests.sweeps.small import small_config
from tests.tiny import save_tiny

REPOSITORY = Path(__file__).resolve().parents[2]


def configured(folder: Path, **keys: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))
    return folder


QUANTIZED: dict[str, dict[str, Any]] = {
    "awq": {"quantization_config": {"quant_method": "awq", "bits": 4}},
    "gptq": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    "bitsandbytes": {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
    "fp8": {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
    "compressed": {"compression_config": {"format": "pack-quantized"}},
    "inside": {"text_config": {"quantization_config": {"quant_method": "mxfp4"}}},
    "no method": {"quantization_config": {"bits": 4}},
}


@pytest.mark.parametrize("kind", QUANTIZED)
def test_quantized_weights_are_refused_before_anything_is_loaded(kind: str, tmp_path: Path) -> None:
    folder = configured(save_tiny("llama", tmp_path), **QUANTIZED[kind])
    asked = small_config(folder)
    for read in (
        lambda: make_plan(asked),
        lambda: models.resolve(str(folder)),
        lambda: EditableModel.load(str(folder)),
        lambda: TransformersEngine(folder, max_model_len=64),
    ):
        with pytest.raises(InputError, match=r"config.json: .*quantized weights cannot be edited") as refused:
            read()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", configs.QUANTIZED_FILES)
def test_so_are_those_that_a_file_of_its_own_describes(name: str, tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    (folder / name).write_text("{}")
    with pytest.raises(InputError, match=f"{name}: quantized weights"):
        models.check(str(folder))


def test_nothing_said_of_quantization_is_nothing(tmp_path: Path) -> None:
    models.check(str(configured(save_tiny("llama", tmp_path), quantization_config=None)))
    models.check("no-such-model")


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    with pytest.raises(InputError, match="an adapter; merge it"):
        models.check(str(folder))


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"hidden_act": "no such function"}, None),
        ({"num_attention_heads": "two"}, None),
        ({"hidden_size": 32}, None),
        ({}, ImportError("This needs a package\nthat is not installed")),
        ({}, RuntimeError("no kernel")),
    ],
)
def test_whatever_loading_raises_is_one_line(
    keys: dict[str, Any], error: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = configured(save_tiny("llama", tmp_path), **keys)
    if error is not None:

        def fails(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fails)
    for read in (lambda: EditableModel.load(str(folder)), lambda: TransformersEngine(folder, max_model_len=64)):
        with pytest.raises(InputError, match=re.escape(str(folder))) as refused:
            read()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text"])
def test_a_cap_on_attention_scores_is_computed_by_model_and_engine(family: str, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path, attn_logit_softcapping=2.0 if family == "gemma2" else None)
    model = EditableModel.load(str(folder))
    ids = torch.tensor([model.tokenizer("The capital of France is Paris, and the capital of Italy is")["input_ids"]])
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with TransformersEngine(folder, max_model_len=256) as engine, torch.no_grad():
        for hf in (model.hf, engine._model):
            torch.testing.assert_close(hf(ids).logits, plain(ids).logits, rtol=1e-4, atol=1e-4)


def test_models_and_tokenizers_are_loaded_here_alone() -> None:
    """EasyEdit's worker imports nothing of the project; it is handed the tokenizer and the names of the weights."""
    found = [
        str(file.relative_to(REPOSITORY))
        for package in ("rect", "tasks", "sweeps")
        for file in sorted((REPOSITORY / package).rglob("*.py"))
        if re.search(r"\bfrom_pretrained\(|\bAuto(Tokenizer|Config|Model\w*)\b", file.read_text())
    ]
    assert found == ["rect/editors/easyeditor/worker.py"]
