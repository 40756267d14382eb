"""GGUF files: what a header says of a model, and whether the file can become a model folder. Nothing is converted here.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import mmap
import struct
from pathlib import Path
from typing import Any

from modelfolder import gguf_positions
from modelfolder.errors import InputError

SUFFIX = ".gguf"
NEEDED = ("accelerate", "gguf")  # packages, for the conversion alone
FAMILIES = {  # a file's architecture, and the model_type that it becomes
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "gpt2": "gpt2",
}
GEMMAS = ("gemma2", "gemma3")
# Ways to split a text before its merges that transformers brings along for a byte-level vocabulary.
LLAMA3_SPLITS = ("llama-bpe", "llama3", "llama-v3")
SPLITS = ("gpt-2", "default", "smollm", *LLAMA3_SPLITS, "qwen2", "deepseek-r1-qwen", "tekken")
LOCAL_BASE = 10000.0  # of the positions in Gemma 3's local layers

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_F32 = 0  # ggml type
_ALIGNMENT = 32


@dataclasses.dataclass(frozen=True)
class Header:
    """What stands before the weights.

    Attributes:
        file: where.
        values: by key; of an array of strings only its length.
        tensors: shape (fastest-moving dimension first, as the file has it), ggml type, offset from `start` in bytes.
        start: where the weights begin, in bytes.
        size: of the file, in bytes.
    """

    file: Path
    values: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], int, int]]
    start: int
    size: int

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key of the architecture's own, such as "attention.key_length"."""
        return self.values.get(f"{self.architecture}.{key}", default)


def is_named(name: str) -> bool:
    """Whether a model's name means a GGUF file."""
    return name.lower().endswith(SUFFIX)


def read(file: Path) -> Header:
    """The header of a file.

    Raises:
        InputError: it is no GGUF file, cannot be read, or ends too early.
    """
    try:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise InputError(f"{file}: not a GGUF file (it does not begin with GGUF)")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Cursor(file, data).header()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError, MemoryError):
        raise InputError(f"{file}: its header is cut off or damaged: fetch the file again") from None


class _Cursor:
    def __init__(self, file: Path, data: mmap.mmap) -> None:
        self.file, self.data, self.at = file, data, 4

    def header(self) -> Header:
        version = self.number("I")
        if version not in (2, 3):
            raise InputError(f"{self.file}: GGUF version {version}, of which only 2 and 3 are known")
        tensors, keys = self.number("Q"), self.number("Q")
        values = {self.string(): self.value(self.number("I")) for _ in range(keys)}
        found = {}
        for _ in range(tensors):
            name, dimensions = self.string(), self.number("I")
            shape = tuple(self.number("Q") for _ in range(dimensions))
            found[name] = (shape, self.number("I"), self.number("Q"))
        alignment = int(values.get("general.alignment", _ALIGNMENT)) or _ALIGNMENT
        return Header(self.file, values, found, -(-self.at // alignment) * alignment, len(self.data))

    def number(self, kind: str) -> Any:
        (found,) = struct.unpack_from(f"<{kind}", self.data, self.at)
        self.at += struct.calcsize(kind)
        return found

    def string(self) -> str:
        length = self.number("Q")
        if self.at + length > len(self.data):
            raise IndexError
        found = self.data[self.at : self.at + length].decode("utf-8")
        self.at += length
        return found

    def value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise IndexError
        inner, count = self.number("I"), self.number("Q")
        if inner in _NUMBERS:
            code = f"<{count}{_NUMBERS[inner]}"
            found = struct.unpack_from(code, self.data, self.at)
            self.at += struct.calcsize(code)
            return list(found)
        for _ in range(count):
            self.value(inner)
        return count


def check(file: Path) -> Header:
    """The header of a file that can be converted.

    Raises:
        InputError: it cannot: a family, a tokenizer or a quantization that is not known, one part of several, a file
            that ends too early, scaled positions, or a package is not installed.
    """
    header = read(file)
    values, architecture = header.values, header.architecture
    if int(values.get("split.count", 1)) > 1:
        raise InputError(
            f"{file}: one of {values['split.count']} parts; join them (llama-gguf-split --merge) and name the whole"
        )
    if architecture not in FAMILIES:
        raise InputError(f"{file}: architecture {architecture!r} is not known; GGUF files of {', '.join(FAMILIES)} are")
    check_packages(str(file))
    _check_whole(header)
    if lost := _left_out(header):
        raise InputError(f"{file}: {lost}, which the conversion would leave out; take the model as safetensors")
    _check_tokenizer(header)
    return header


def check_packages(what: str) -> None:
    """Raises InputError where a package that converts GGUF files is not installed; the line begins with `what`."""
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"{what} is converted once from a GGUF file, for which {' and '.join(lacking)} must be installed "
            f"(pip install {' '.join(lacking)}, or the extra default-model)"
        )


def _left_out(header: Header) -> str | None:
    """What changes the model's numbers and is not taken over; None where nothing does."""
    scaling = header.get("rope.scaling.type", "none")
    if scaling != "none":
        return f"its positions are scaled ({scaling})"
    if gguf_positions.TENSOR in header.tensors and _positions(header) is None:
        return f"its positions are scaled in another way than Llama 3.1's ({gguf_positions.TENSOR})"
    if (base := header.get("rope.freq_base_swa", LOCAL_BASE)) != LOCAL_BASE:
        return f"its local layers have a base of positions of their own ({base:g})"
    window = header.get("attention.sliding_window")
    if window and header.architecture not in GEMMAS and window < header.get("context_length", 0):
        return f"its attention has a sliding window ({window})"
    return None


def _positions(header: Header) -> dict[str, Any] | None:
    """`rope_parameters` of a file with Llama 3.1's scaled positions."""
    shape, kind, offset = header.tensors[gguf_positions.TENSOR]
    if kind != _F32 or header.architecture != "llama":
        return None
    count = math.prod(shape)
    with header.file.open("rb") as file:
        file.seek(header.start + offset)
        found = struct.unpack(f"<{count}f", file.read(4 * count))  # the file is whole: `_check_whole`
    return gguf_positions.llama3(found, float(header.get("rope.freq_base", 10000.0)))


def _check_whole(header: Header) -> None:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    end = header.start
    for name, (shape, kind, offset) in header.tensors.items():
        try:
            values, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise InputError(
                f"{header.file}: {name} is of ggml type {kind}, which the installed gguf does not know"
            ) from None
        end = max(end, header.start + offset + math.prod(shape) // values * size)
    if end > header.size:
        raise InputError(f"{header.file}: cut off: {header.size} bytes of {end}; fetch the file again")
    if not header.tensors:
        raise InputError(f"{header.file}: holds no weights")


def _check_tokenizer(header: Header) -> None:
    model, split = header.values.get("tokenizer.ggml.model"), header.values.get("tokenizer.ggml.pre", "default")
    if model not in ("llama", "gpt2") or "tokenizer.ggml.tokens" not in header.values:
        raise InputError(f"{header.file}: its tokenizer ({model or 'none'}) is not known; llama and gpt2 are")
    if model == "gpt2" and split not in SPLITS:
        raise InputError(
            f"{header.file}: its tokenizer splits texts as {split!r}, which is not known; known: {', '.join(SPLITS)}"
        )
    prefixed = header.values.get("tokenizer.ggml.add_space_prefix")
    if model == "llama" and prefixed is not None and bool(prefixed) is (header.architecture in GEMMAS):
        raise InputError(
            f"{header.file}: its tokenizer puts {'a' if prefixed else 'no'} space before a text, unlike others of "
            f"{header.architecture}, which the conversion cannot say; take the model as safetensors"
        )


def settings(header: Header) -> dict[str, Any]:
    """What a config must say that transformers does not take from the file: llama.cpp's rules, by its sources.

    https://github.com/ggml-org/llama.cpp/blob/master/src/llama-model.cpp (load_hparams)
    """
    found: dict[str, Any] = {}
    if gguf_positions.TENSOR in header.tensors:
        found["rope_parameters"] = _positions(header)
    if header.architecture == "qwen3" and (size := header.get("attention.key_length")):
        found["head_dim"] = size
    if header.architecture == "gpt2":
        found |= {"n_positions": header.get("context_length"), "n_inner": header.get("feed_forward_length")}
    if header.architecture in GEMMAS:
        heads, layers, width = (header.get(key) for key in ("attention.head_count", "block_count", "embedding_length"))
        largest = layers == {"gemma2": 46, "gemma3": 62}[header.architecture]  # those of 27B are scaled by another size
        found["query_pre_attn_scalar"] = width // heads if largest else header.get("attention.key_length")
        if (pattern := header.get("attention.sliding_window_pattern")) is not None:  # every so many, or which
            local = pattern if isinstance(pattern, list) else [(layer + 1) % pattern != 0 for layer in range(layers)]
            found["layer_types"] = ["sliding_attention" if one else "full_attention" for one in local]
    if header.architecture == "gemma2":
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            if (cap := header.get(key)) is not None:
                found[key] = cap
    return found


def begins(header: Header) -> tuple[bool, bool]:
    """Whether texts begin with the beginning token, and whether the file itself says so.

    Where it is silent llama.cpp's rule holds: SentencePiece and Llama 3 begin their texts, other byte-level
    vocabularies do not.
    """
    said = header.values.get("tokenizer.ggml.add_bos_token")
    if said is not None:
        return bool(said), True
    kind, split = header.values.get("tokenizer.ggml.model"), header.values.get("tokenizer.ggml.pre")
    return kind == "llama" or split in LLAMA3_SPLITS, False
