"""The base weights of a model folder, read tensor by tensor, and which of them an engine fuses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from modelfolder.errors import InputError
from modelfolder.tensors import Tensors

if TYPE_CHECKING:
    from torch import Tensor

# Projections that engines keep as one matrix. Writing one part alone would leave the others undefined.
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "lm_head", "embed_out")  # modules that may share one matrix


class Checkpoint(Tensors):
    """A folder's tensors by Hugging Face parameter names.

    Args:
        folder: model folder.
        tied: whether the embedding is the output head as well (`tie_word_embeddings`).

    Raises:
        InputError: see Tensors; or embedding and head are one and differ.
    """

    def __init__(self, folder: Path, *, tied: bool) -> None:
        super().__init__(folder)
        self._tied = tied
        if tied:
            self.check_tied()

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
        return sorted(saved for saved in self.names() if saved.rpartition(".")[0] in modules)


def _fused_modules(name: str) -> list[str]:
    """Module paths that an engine keeps as one with the module of parameter `name`, that one included."""
    module = name.rpartition(".")[0]
    parent, dot, child = module.rpartition(".")
    parts = next((group for group in FUSED if child in group), (child,))
    return [f"{parent}{dot}{part}" for part in parts]
