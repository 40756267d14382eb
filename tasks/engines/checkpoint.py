"""The base weights of a model folder, read tensor by tensor, and which of them an engine fuses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Projections that engines keep as one matrix. Writing one part alone would leave the others undefined.
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "lm_head", "embed_out")  # modules that may share one matrix
PREFIXES = ("transformer.", "model.", "gpt_neox.")  # of the body inside a causal LM; bare bodies are saved without


class Checkpoint:
    """Tensors of a folder's safetensors (one file, or shards with an index) by Hugging Face parameter names.

    Files stay open (memory-mapped, so tensors cost memory only while in use) and readable even if the folder goes away.

    Args:
        folder: model folder.
        tied: whether the embedding is the output head as well (`tie_word_embeddings`).

    Raises:
        InputError: no such folder, or it holds no safetensors.
    """

    def __init__(self, folder: Path, *, tied: bool) -> None:
        self.folder = folder
        self._tied = tied
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        else:
            files = ["model.safetensors"]
        missing = [name for name in files if not (folder / name).is_file()]
        if missing:
            raise InputError(f"{folder} lacks {missing[0]}: weights are read from safetensors only")
        self._open = ExitStack()
        self._file: dict[str, Any] = {}  # saved name -> open safetensors file
        from safetensors import safe_open

        for name in files:
            file = self._open.enter_context(safe_open(folder / name, framework="pt"))
            self._file.update(dict.fromkeys(file.keys(), file))

    def saved_name(self, name: str) -> str:
        """The name under which a parameter is saved: a GPT-2 body, say, may be saved without `transformer.`.

        Raises:
            InputError: the folder holds no such tensor.
        """
        bare = [name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)]
        head = [name.replace("lm_head.", "embed_out.")]  # GPT-NeoX
        for candidate in (name, *bare, *(prefix + name for prefix in PREFIXES), *head):
            if candidate in self._file:
                return candidate
        raise InputError(f"{self.folder} holds no tensor {name}: a Hugging Face parameter name was expected")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        saved = self.saved_name(name)
        return tuple(self._file[saved].get_slice(saved).get_shape())

    def tensor(self, name: str) -> Tensor:
        """The base tensor as saved (its own dtype, on the CPU). Not to be written to."""
        saved = self.saved_name(name)
        tensor: Tensor = self._file[saved].get_tensor(saved)
        return tensor

    def check(self, name: str, tensor: Tensor) -> None:
        """Raise InputError unless `name` can be exchanged and `tensor` has its shape."""
        if self._tied and name.split(".")[-2:-1] and name.split(".")[-2] in EMBEDDINGS:
            raise InputError(f"{name} is embedding and output head in one in {self.folder}: engines cannot exchange it")
        expected = self.shape(name)
        if tuple(tensor.shape) != expected:
            raise InputError(f"{name} has shape {tuple(tensor.shape)} where {self.folder} has {expected}")

    def with_companions(self, names: Iterable[str]) -> list[str]:
        """Saved names of these tensors and of all that an engine stores in the same module: fused parts and biases.

        An engine rebuilds a module from what it is sent alone, so all of it has to be sent. Sorted, so that
        tensors of one module follow one another.
        """
        modules = {module for name in names for module in _fused_modules(self.saved_name(name))}
        return sorted(saved for saved in self._file if saved.rpartition(".")[0] in modules)


def _fused_modules(name: str) -> list[str]:
    """Module paths that an engine keeps as one with the module of parameter `name`, that one included."""
    module = name.rpartition(".")[0]
    parent, dot, child = module.rpartition(".")
    parts = next((group for group in FUSED if child in group), (child,))
    return [f"{parent}{dot}{part}" for part in parts]
