"""Which file of a model folder holds which tensor: one rule for every reader.

The weights are `model.safetensors`, or the shards that `model.safetensors.index.json` names. Libraries disagree on a
folder that holds more (one takes the whole file, another the shards, a third all files), so such a folder is refused.
With an index, files that it does not name are read by nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfolder.errors import InputError, reason

if TYPE_CHECKING:
    from torch import Tensor

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PREFIXES = ("transformer.", "model.", "gpt_neox.")  # of the body inside a causal LM; bare bodies are saved without
HEADS = {"lm_head.weight": "embed_out.weight"}  # GPT-NeoX's head is called otherwise in its files
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
BUFFERS = (".inv_freq", ".masked_bias", ".attn.bias", ".attention.bias")  # constants that old files hold beside weights
FLOATS = ("F64", "F32", "F16", "BF16")


def files(folder: Path) -> list[Path]:
    """The files that hold the weights. Opens none of them.

    Raises:
        InputError: there are none, or the folder holds two answers, or it lacks a file that its index names.
    """
    whole, index = folder / WHOLE, folder / INDEX
    there = {file.name for file in folder.glob("*.safetensors")}
    if index.is_file():
        named = set(_weight_map(index).values())
        if whole.is_file() and named != {WHOLE}:
            raise InputError(
                f"{folder} holds its weights twice: {WHOLE}, and the shards of {INDEX}; take away those that are stale"
            )
        if missing := sorted(named - there):
            raise InputError(f"{folder} lacks {missing[0]}, which {INDEX} names")
        return [folder / name for name in sorted(named)]
    if whole.is_file():
        if others := sorted(there - {WHOLE}):
            raise InputError(
                f"{folder} holds {others[0]} beside {WHOLE}, and no index says which is the model: some readers take "
                f"one, some both; take away what is not the model"
            )
        return [whole]
    if there:
        raise InputError(
            f"{folder} holds {min(there)}, but neither {WHOLE} nor {INDEX}, which would say what belongs to the model"
        )
    raise InputError(f"{folder}: holds no *.safetensors file (weights in other formats are not read)")


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{index}: not an index of shards ({reason(error)})") from None
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise InputError(f"{index}: weight_map must say of each tensor which file holds it")
    return found


class Tensors:
    """The tensors of a model folder, by the names under which they are saved.

    Files stay open (memory-mapped, so tensors cost memory only while in use) and readable even if the folder goes away.

    Args:
        folder: the model folder.
        framework: whose tensors are given, "pt" or "numpy".

    Raises:
        InputError: see `files`; or a file is none, lacks a tensor that the index places there, holds one that another
            file holds too, or codes in place of weights.
    """

    def __init__(self, folder: Path, framework: str = "pt") -> None:
        from safetensors import safe_open

        self.folder = folder
        self._open = ExitStack()
        self._file: dict[str, Any] = {}  # saved name -> open file
        place: dict[str, str] = {}
        for path in files(folder):
            try:
                file = self._open.enter_context(safe_open(path, framework=framework))
                names = list(file.keys())
            except Exception as error:  # the library raises classes of its own, and OSError
                raise InputError(f"{path}: not a safetensors file ({reason(error)})") from None
            for name in names:
                if name in place:
                    raise InputError(f"{folder} holds {name} twice: in {place[name]} and in {path.name}")
                place[name], self._file[name] = path.name, file
                self._check_kind(name, path)
        if (folder / INDEX).is_file():
            for name, where in _weight_map(folder / INDEX).items():
                if place.get(name) != where:
                    raise InputError(f"{folder / INDEX} places {name} in {where}, which does not hold it")

    def _check_kind(self, name: str, path: Path) -> None:
        kind = self._file[name].get_slice(name).get_dtype()
        if kind not in FLOATS and name.endswith(("weight", "bias")) and not name.endswith(BUFFERS):
            raise InputError(f"{path}: {name} is stored as {kind}: quantized weights cannot be edited")

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def names(self) -> list[str]:
        """The names under which tensors are saved."""
        return list(self._file)

    def saved_name(self, name: str) -> str:
        """The name under which a parameter is saved: a GPT-2 body, say, may be saved without `transformer.`.

        Raises:
            InputError: the folder holds no such tensor.
        """
        bare = [name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)]
        for candidate in (name, *bare, *(prefix + name for prefix in PREFIXES), HEADS.get(name)):
            if candidate in self._file:
                return str(candidate)
        raise InputError(f"{self.folder} holds no tensor {name}: a Hugging Face parameter name was expected")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter, without reading it."""
        saved = self.saved_name(name)
        return tuple(self._file[saved].get_slice(saved).get_shape())

    def tensor(self, name: str) -> Tensor:
        """A parameter as saved (its own dtype, on the CPU). Not to be written to."""
        saved = self.saved_name(name)
        tensor: Tensor = self._file[saved].get_tensor(saved)
        return tensor

    def check_tied(self) -> None:
        """Raise InputError where embedding and head, one matrix by the config, are saved as two that differ."""
        import torch

        heads = [name for name in self._file if name in (*HEADS, *HEADS.values())]
        embeddings = [name for name in self._file if name.endswith(EMBEDDINGS)]
        for head in heads:
            for embedding in embeddings:
                if not torch.equal(self.tensor(head), self.tensor(embedding)):
                    raise InputError(
                        f"{self.folder}: config.json ties the head to the embedding (tie_word_embeddings), but "
                        f"{head} and {embedding} differ in its files"
                    )


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by the names under which they are saved, from the files' headers: no tensor library.

    Raises:
        InputError: as `Tensors`.
    """
    saved = Tensors(folder, framework="numpy")
    return {name: saved.shape(name) for name in saved.names() if not name.endswith(BUFFERS)}


def unplaced(names: Iterable[str]) -> list[str]:
    """Those tensors of a folder that a model has no place for and that are no constants."""
    return sorted(name for name in set(names) if not name.endswith(BUFFERS))
