"""GGUF files that were written here become folders with the tokens and numbers of what they were written from."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from modelfolder import gguf, gguf_conversion, loading, tokenizer
from modelfolder.config import attention
from modelfolder.errors import InputError
from tests import gguf_files, tiny

pytest.importorskip("accelerate")
FAMILIES = tuple(gguf_files.TOKENIZERS)
Q8_0, BLOCK = 127, 32  # the largest code; values that share a scale


def converted(file: Path) -> tuple[Any, Any]:
    folder = file.with_suffix("")
    folder.mkdir()
    gguf_conversion.convert(file, folder)
    return loading.causal_lm(folder, torch.float32), tokenizer.load(folder)


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """What Q8_0 leaves of a matrix, by its definition: blocks of 32, in steps of the largest value / 127, which is kept
    in half precision.
    """
    blocks = weight.numpy().reshape(-1, BLOCK)
    step = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(Q8_0)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.where(step == 0, 0, blocks / step)
    codes = np.sign(codes) * np.floor(np.abs(codes) + 0.5)  # halves away from 0
    return torch.from_numpy(
        (codes * step.astype(np.float16).astype(np.float32)).reshape(weight.shape).astype(np.float32)
    )


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(ids).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_logits_of_the_original(family: str, tmp_path: Path) -> None:
    model, words = gguf_files.original(family)
    begins = family not in gguf_files.SPLITS
    read, read_words = converted(gguf_files.write(tmp_path / "a.gguf", model, words, begins=begins))
    assert read.config.model_type == family
    for text in (*tokenizer.PROBES, *tiny.SENTENCES, " begun with a space"):
        assert read_words(text)["input_ids"] == words(text)["input_ids"], text
    assert (words("France")["input_ids"][0] == words.bos_token_id) == begins
    ids = torch.tensor([words(" ".join(tiny.SENTENCES[:3]))["input_ids"]])
    assert ids.shape[1] > 64  # beyond the windows of local layers
    torch.testing.assert_close(logits(read, ids), logits(model, ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_quantized_weights_are_those_of_the_definition(family: str, tmp_path: Path) -> None:
    """The logits equal those of the original with matrices that were rounded here, and lie near the original's."""
    model, words = gguf_files.original(family)
    read, _ = converted(gguf_files.write(tmp_path / "a.gguf", model, words, quantized=True, begins=False))
    ids = torch.tensor([words(tiny.SENTENCES[0])["input_ids"]])
    exact = logits(model, ids)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            stored = rounded(gguf_files.stored(name, parameter.detach(), model.config))
            parameter.data = unstored(name, stored, model.config)
    torch.testing.assert_close(logits(read, ids), logits(model, ids), atol=1e-3, rtol=1e-3)
    away = (logits(read, ids) - exact).norm() / exact.norm()
    assert 1e-4 < away < 0.3  # weights are off by 0.4% at most, which random layers enlarge


def unstored(name: str, stored: torch.Tensor, config: Any) -> torch.Tensor:
    """A matrix in transformers' order again, found by where the file's order puts each element."""
    places = torch.arange(stored.numel(), dtype=torch.float64).view(
        stored.T.shape if config.model_type == "gpt2" and ".h." in name else stored.shape
    )
    order = gguf_files.stored(name, places, config).flatten().long()
    found = torch.empty(stored.numel())
    found[order] = stored.flatten()
    return found.view(places.shape)


class TestScaledPositions:
    """Llama 3.1's, as the file has them: by how much transformers' own inverse frequencies are divided."""

    SCALING: ClassVar[dict[str, Any]] = {
        **{"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0},
        **{"high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    }

    def written(self, tmp_path: Path, **changes: Any) -> tuple[Any, Any, Path]:
        model, words = gguf_files.original("llama", rope_parameters={**self.SCALING, **changes})
        found = model.model.rotary_emb.inv_freq
        plain = 10000.0 ** (-torch.arange(0, 2 * len(found), 2) / (2 * len(found)))
        divided = {"rope_freqs.weight": (plain / found).numpy().astype(np.float32)}
        return model, words, gguf_files.write(tmp_path / "a.gguf", model, words, begins=True, tensors=divided)

    @pytest.mark.parametrize("factor", [8.0, 32.0])
    def test_they_are_taken_over(self, factor: float, tmp_path: Path) -> None:
        model, words, file = self.written(tmp_path, factor=factor)
        read, _ = converted(file)
        assert {**read.config.rope_parameters} == {**self.SCALING, "factor": factor}
        torch.testing.assert_close(read.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)
        ids = torch.tensor([words(" ".join(tiny.SENTENCES))["input_ids"]])
        torch.testing.assert_close(logits(read, ids), logits(model, ids), atol=1e-4, rtol=1e-4)
        unscaled, _ = gguf_files.original("llama")
        assert (logits(unscaled, ids) - logits(model, ids)).abs().max() > 1e-2

    @pytest.mark.parametrize("changes", [{"low_freq_factor": 2.0}, {"original_max_position_embeddings": 4096}])
    def test_others_are_refused(self, changes: dict[str, Any], tmp_path: Path) -> None:
        _, _, file = self.written(tmp_path, **changes)
        with pytest.raises(InputError, match=r"scaled in another way than Llama 3.1's \(rope_freqs.weight\), which"):
            gguf.check(file)


class TestBeginning:
    @pytest.mark.parametrize(
        ("family", "said", "begins"),
        [
            ("llama", True, True),
            ("llama", False, False),
            ("llama", None, True),  # SentencePiece
            ("gemma3_text", None, True),
            ("qwen3", None, False),
            ("gpt2", True, True),
        ],
    )
    def test_what_the_file_says_else_its_kind(
        self, family: str, said: bool | None, begins: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model, words = gguf_files.original(family)
        _, read = converted(gguf_files.write(tmp_path / "a.gguf", model, words, begins=said))
        assert (read("France is")["input_ids"][0] == words.bos_token_id) == begins
        told = [one.getMessage() for one in caplog.records if "does not say whether" in one.getMessage()]
        assert len(told) == (said is None and words.bos_token is not None)

    def test_the_token_is_not_named(self, tmp_path: Path) -> None:
        model, words = gguf_files.original("qwen2")
        file = gguf_files.write(tmp_path / "a.gguf", model, words, begins=True)
        assert words.bos_token is None
        with pytest.raises(InputError, match="begin with a token that it does not name"):
            gguf_conversion.convert(file, tmp_path)


@pytest.mark.parametrize(
    ("family", "extra", "name", "value"),
    [
        ("gemma3_text", {"{arch}.attention.sliding_window_pattern": 3}, "layer_types", 3),
        ("gemma3_text", {"{arch}.attention.sliding_window": 8}, "sliding_window", 8),
        ("gemma2", {"{arch}.final_logit_softcapping": 7.0}, "final_logit_softcapping", 7.0),
        ("qwen3", {}, "head_dim", 32),
    ],
)
def test_what_the_config_says(family: str, extra: dict[str, Any], name: str, value: Any, tmp_path: Path) -> None:
    model, words = gguf_files.original(family)
    read, _ = converted(gguf_files.write(tmp_path / "a.gguf", model, words, begins=False, extra=extra))
    if name == "layer_types":
        value = ["full_attention" if (i + 1) % value == 0 else "sliding_attention" for i in range(7)]
    assert getattr(read.config, name) == value
    assert attention(read.config) == attention(model.config)


def cut(part: float) -> Callable[[Path], None]:
    def work(file: Path) -> None:
        data = file.read_bytes()
        file.write_bytes(data[: int(part * len(data))])

    return work


class TestRefusals:
    """One line each, by what is read in a moment: before anything is converted."""

    @pytest.mark.parametrize(
        ("extra", "expected"),
        [
            ({"general.architecture": "mamba"}, r"architecture 'mamba' is not known; GGUF files of llama, qwen2"),
            ({"split.count": 3}, r"one of 3 parts; join them"),
            ({"{arch}.rope.scaling.type": "yarn"}, r"its positions are scaled \(yarn\), which .* as safetensors"),
            ({"{arch}.attention.sliding_window": 16}, r"its attention has a sliding window \(16\)"),
            ({"tokenizer.ggml.model": "t5"}, r"its tokenizer \(t5\) is not known"),
            ({"tokenizer.ggml.add_space_prefix": False}, r"its tokenizer puts no space before a text"),
        ],
    )
    def test_what_the_header_says(self, extra: dict[str, Any], expected: str, tmp_path: Path) -> None:
        model, words = gguf_files.original("llama")
        file = gguf_files.write(tmp_path / "a.gguf", model, words, extra=extra)
        with pytest.raises(InputError, match=expected) as caught:
            gguf.check(file)
        assert "\n" not in str(caught.value)
        assert str(file) in str(caught.value)

    def test_a_way_to_split_texts(self, tmp_path: Path) -> None:
        model, words = gguf_files.original("qwen2")
        file = gguf_files.write(tmp_path / "a.gguf", model, words, extra={"tokenizer.ggml.pre": "viking"})
        with pytest.raises(InputError, match="splits texts as 'viking', which is not known; known: gpt-2"):
            gguf.check(file)

    @pytest.mark.parametrize(
        ("spoil", "expected"),
        [
            (cut(0.001), "its header is cut off or damaged: fetch the file again"),
            (cut(0.9), r"cut off: \d+ bytes of \d+; fetch the file again"),
            (lambda file: file.write_bytes(b""), "not a GGUF file"),
            (lambda file: file.write_bytes(b"GGUF"), "its header is cut off or damaged"),
            (lambda file: file.write_bytes(b"safetensors"), "not a GGUF file"),
            (
                lambda file: file.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0)),
                "GGUF version 1, of which only 2 and",
            ),
            (lambda file: file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60)), "cut off or damaged"),
            (lambda file: file.unlink(), r"cannot be read \(No such file or directory\)"),
        ],
    )
    def test_damaged_files(self, spoil: Callable[[Path], None], expected: str, tmp_path: Path) -> None:
        model, words = gguf_files.original("llama")
        file = gguf_files.write(tmp_path / "a.gguf", model, words)
        spoil(file)
        with pytest.raises(InputError, match=expected):
            gguf.check(file)

    def test_every_cut_is_told(self, tmp_path: Path) -> None:
        model, words = gguf_files.original("llama")
        file = gguf_files.write(tmp_path / "a.gguf", model, words)
        whole = file.read_bytes()
        for length in (*range(0, 200, 7), *range(200, len(whole), len(whole) // 50), len(whole) - 1):
            file.write_bytes(whole[:length])
            with pytest.raises(InputError):
                gguf.check(file)

    @pytest.mark.parametrize(
        ("without", "expected"),
        [(("blk.1.ffn_down.weight",), "lacks 1 weights of a llama model: model.layers.1.mlp.down_proj.weight")],
    )
    def test_weights_are_missing(self, without: tuple[str, ...], expected: str, tmp_path: Path) -> None:
        model, words = gguf_files.original("llama")
        file = gguf_files.write(tmp_path / "a.gguf", model, words, without=without)
        with pytest.raises(InputError, match=expected):
            gguf_conversion.convert(file, tmp_path)

    def test_weights_without_a_place(self, tmp_path: Path) -> None:
        """Biases of attention, which a file's keys do not tell of, would be left out."""
        model, words = gguf_files.original("llama", attention_bias=True)
        file = gguf_files.write(tmp_path / "a.gguf", model, words)
        with pytest.raises(InputError, match=r"holds \d+ weights, of which a llama model takes \d+"):
            gguf_conversion.convert(file, tmp_path)

    def test_no_gguf_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gguf, "NEEDED", ("accelerate", "no_such_reader"))
        model, words = gguf_files.original("llama")
        file = gguf_files.write(tmp_path / "a.gguf", model, words)
        with pytest.raises(
            InputError, match=r"for which no_such_reader must be installed \(pip install no_such_reader,"
        ):
            gguf.check(file)


def test_nothing_of_a_quantization_is_left_in_the_folder(tmp_path: Path) -> None:
    model, words = gguf_files.original("qwen2")
    converted(gguf_files.write(tmp_path / "a.gguf", model, words, quantized=True))
    assert not any("quantization" in key for key in json.loads((tmp_path / "a" / "config.json").read_text()))
