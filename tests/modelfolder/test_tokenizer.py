"""The tokenizer that is loaded is the folder's own, and puts nothing behind a text."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from modelfolder import tokenizer as loader
from modelfolder.errors import InputError
from tests.tiny import TOKENIZERS, byte_level_tokenizer, metaspace_tokenizer, tiny_config

TEXT = "The capital of France is Rome, and 12 apples"
END = "<|endoftext|>"


def folder_of(tokenizer: Any, folder: Path, family: str = "llama") -> Path:
    tokenizer.save_pretrained(folder)
    tiny_config(family, vocab_size=len(tokenizer)).save_pretrained(folder)
    return folder


def configured(folder: Path, **keys: Any) -> Path:
    """With other keys in tokenizer_config.json; None takes a key away."""
    file = folder / "tokenizer_config.json"
    config = {**json.loads(file.read_text()), **keys}
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def raw(folder: Path, text: str) -> list[int]:
    """The ids of tokenizer.json, read by its own library."""
    return list(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("kind", [None, "LlamaTokenizerFast", "GemmaTokenizerFast", "Qwen2Tokenizer", "GPT2Tokenizer"])
def test_ids_are_those_of_the_file_whatever_class_it_is_labelled_as(
    name: str, kind: str | None, tmp_path: Path
) -> None:
    folder = configured(folder_of(TOKENIZERS[name](), tmp_path, "qwen2" if name == "qwen2" else "llama"))
    if kind is not None:
        configured(folder, tokenizer_class=kind, add_bos_token=None)
    found = loader.load(folder)
    for text in (TEXT, *loader.PROBES):
        ids = found(text)["input_ids"]
        assert ids == raw(folder, text)
        assert found.decode(ids, skip_special_tokens=True) == text


def test_a_byte_level_file_labelled_as_llamas_keeps_what_else_the_folder_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.backend_tokenizer.post_processor = begun(END)
    folder = configured(
        folder_of(tokenizer, tmp_path),
        tokenizer_class="LlamaTokenizerFast",
        add_bos_token=True,
        add_eos_token=False,
        legacy=True,
        chat_template="{{ messages[0]['content'] }}",
    )
    found = loader.load(folder)
    assert found(TEXT)["input_ids"] == raw(folder, TEXT)
    assert found("x")["input_ids"][0] == found.bos_token_id == found.eos_token_id == 0
    assert found.chat_template == "{{ messages[0]['content'] }}"
    assert "tokenizer.json is taken as it is" in caplog.text


def begun(first: str, last: str | None = None) -> Any:
    """A post-processor that puts `first` before a text and `last` behind it."""
    special = [(first, 0)] + ([(last, 2)] if last else [])
    single = f"{first} $A" + (f" {last}" if last else "")
    return processors.TemplateProcessing(single=single, pair=f"{single} $B", special_tokens=special)


ENDED = {
    "template": begun("<unk>", "</s>"),
    "after bytes": processors.Sequence([processors.ByteLevel(trim_offsets=True), begun("<unk>", "</s>")]),
    "roberta": processors.RobertaProcessing(("</s>", 2), ("<unk>", 0)),
    "bert": processors.BertProcessing(("</s>", 2), ("<unk>", 0)),
}


@pytest.mark.parametrize("how", ENDED)
def test_nothing_special_stands_behind_a_text(how: str, tmp_path: Path) -> None:
    tokenizer = metaspace_tokenizer()
    tokenizer.backend_tokenizer.post_processor = ENDED[how]
    folder = folder_of(tokenizer, tmp_path)
    found, whole = loader.load(folder), raw(folder, TEXT)
    assert whole[-1] == 2
    assert found(TEXT)["input_ids"] == whole[:-1]
    assert found([TEXT, "two"])["input_ids"][0] == whole[:-1]
    found.save_pretrained(tmp_path / "saved")
    tiny_config("llama").save_pretrained(tmp_path / "saved")
    assert loader.load(tmp_path / "saved")(TEXT)["input_ids"] == whole[:-1]


def test_nor_where_the_config_asks_for_an_end(tmp_path: Path) -> None:
    """Of a folder without a tokenizer.json: there is none that says otherwise."""
    folder = folder_of(byte_level_tokenizer(), tmp_path, "gpt2")
    held = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(held["vocab"]))
    (folder / "merges.txt").write_text("".join(f"{first} {second}\n" for first, second in held["merges"]))
    configured(folder, tokenizer_class="GPT2Tokenizer", add_eos_token=True, add_bos_token=False)
    assert transformers.AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"][-1] == 0
    assert loader.load(folder)(TEXT)["input_ids"] == byte_level_tokenizer()(TEXT)["input_ids"]


SLOW = """
import transformers


class Ended(transformers.PreTrainedTokenizer):
    def __init__(self, **how):
        self.add_eos_token = True
        super().__init__(eos_token="<end>", **how)

    @property
    def vocab_size(self):
        return 257

    def get_vocab(self):
        return {self._convert_id_to_token(i): i for i in range(257)}

    def _tokenize(self, text):
        return [chr(256 + byte) for byte in text.encode()]

    def _convert_token_to_id(self, token):
        return 256 if token == "<end>" else ord(token) - 256

    def _convert_id_to_token(self, index):
        return "<end>" if index == 256 else chr(256 + index)

    def convert_tokens_to_string(self, tokens):
        return bytes(ord(token) - 256 for token in tokens if token != "<end>").decode(errors="replace")

    def build_inputs_with_special_tokens(self, ids, more=None):
        return ids + ([256] if ENDED else [])
"""


def slow(folder: Path, ended: str) -> Path:
    """A folder with Python code for a tokenizer of bytes, which puts an end behind a text on a condition."""
    tiny_config("gpt2", vocab_size=257).save_pretrained(folder)
    (folder / "ended.py").write_text(SLOW.replace("ENDED", ended))
    about = {"tokenizer_class": "Ended", "auto_map": {"AutoTokenizer": ["ended.Ended", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def test_nor_by_a_tokenizer_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "model").mkdir()
    folder = slow(tmp_path / "model", "self.add_eos_token")
    asked = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    assert not asked.is_fast
    assert asked("é")["input_ids"] == [0xC3, 0xA9, 256]
    assert loader.load(folder, trust_remote_code=True)("é")["input_ids"] == [0xC3, 0xA9]


def test_an_end_that_cannot_be_taken_away_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "model").mkdir()
    with pytest.raises(InputError, match="puts special tokens behind every text, and cannot be told not to"):
        loader.load(slow(tmp_path / "model", "True"), trust_remote_code=True)


def test_what_was_made_for_training_has_no_effect(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    folder = folder_of(tokenizer, tmp_path)
    file = folder / "tokenizer.json"
    core = tokenizers.Tokenizer.from_file(str(file))
    core.enable_truncation(4)
    core.enable_padding(length=64)
    saved = json.loads(core.to_str())
    saved["model"]["dropout"] = 0.5
    file.write_text(json.dumps(saved))
    found = loader.load(folder)
    assert all(found(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"] for _ in range(5))


def words(normalizer: Any = None) -> Any:
    """A tokenizer that forgets spaces, or (with a normalizer) writes as it normalizes."""
    tokenizer = byte_level_tokenizer()
    if normalizer is None:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    else:
        tokenizer.backend_tokenizer.normalizer = normalizer
    return tokenizer


def test_a_tokenizer_that_loses_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not give a text back: .* comes back as 'ThecapitalofFrance"):
        loader.load(folder_of(words(), tmp_path))


@pytest.mark.parametrize("normalizer", [normalizers.Lowercase(), normalizers.NFKC(), normalizers.NFD()])
def test_its_own_normalization_is_no_loss(normalizer: Any, tmp_path: Path) -> None:
    loader.load(folder_of(words(normalizer), tmp_path))


def test_what_a_vocabulary_cannot_say_is_not_asked_of_it(tmp_path: Path) -> None:
    core = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    alphabet = sorted(set(loader.PROBES[0]))
    core.train_from_iterator(alphabet, trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False))
    core.decoder = decoders.Fuse()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    assert made.unk_token_id in made(loader.PROBES[5])["input_ids"]
    loader.load(folder_of(made, tmp_path))


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    folder = folder_of(byte_level_tokenizer(), tmp_path)
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(InputError) as refused:
        loader.load(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("family", "tokenizer", "first", "warned"),
    [
        ("gemma2", "byte-level", None, True),  # its family begins every text
        ("mistral", "byte-level", None, True),
        ("gemma3_text", "metaspace", None, False),  # puts <s> there itself
        ("llama", "byte-level", None, False),  # SmolLM2 was trained without
        ("llama", "byte-level", "<|begin_of_text|>", True),  # Llama 3 was not
        ("qwen2", "qwen2", None, False),
    ],
)
def test_a_missing_beginning_is_said(
    family: str, tokenizer: str, first: str | None, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = TOKENIZERS[tokenizer]()
    if first is not None:
        made.add_special_tokens({"bos_token": first})
    with caplog.at_level(logging.WARNING, "modelfolder"):
        loader.load(folder_of(made, tmp_path, family))
    assert ("puts no beginning token" in caplog.text) == warned


def test_a_model_of_words_alone_is_what_its_file_says(tmp_path: Path) -> None:
    core = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    with pytest.raises(InputError, match="does not give a text back"):
        loader.load(folder_of(made, tmp_path))
