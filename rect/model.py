"""A language model whose weights can be edited and put back to the bit."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modelfolder import config as configs
from modelfolder import digest as digests
from modelfolder import loading, saving
from modelfolder import tokenizer as tokenizers
from modelfolder.errors import InputError, reason
from rect import architecture, greedy, models
from rect.architecture import Architecture
from rect.exclusive import exclusive
from rect.update import Update, UpdateError

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
WITHOUT_FLOAT64 = ("mps",)


class EditableModel:
    """A Hugging Face causal language model, its tokenizer, and the originals of the weights that were changed.

    Args:
        hf: the model; it is put into eval mode and its parameters stop asking for gradients.
        tokenizer: its tokenizer.
        name: what tables call it.
        folder: where its files lie, if it has any: an engine is started from there.

    Attributes:
        hf, tokenizer, name, folder: as given.
        architecture: where its parts lie.
        tokens_per_batch: tokens in one forward pass of the metrics at most, padding included.
        lock: held by whatever reads or changes the whole model: an edit while it is in place, `compute`, a metric.
            Other threads wait meanwhile; a thread that holds it may take it again. Who calls `hf` directly takes it.
    """

    tokens_per_batch = 2048

    def __init__(self, hf: Any, tokenizer: Any, name: str = "model", folder: Path | None = None) -> None:
        self.hf = hf.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.folder = folder
        self._read = None if folder is None else digests.signature(folder)
        self._content: str | None = None
        self.architecture: Architecture = architecture.of(hf.config)
        self._parameters: dict[str, nn.Parameter] = dict(hf.named_parameters())
        self._originals: dict[str, Tensor] = {}
        self._journals: list[dict[str, Tensor]] = []  # what open blocks need to put back, the outermost first
        self.lock = threading.RLock()
        self.readings: dict[object, tuple[float, float]] | None = None  # within `rect.queries.once`

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str],
        device: str = "auto",
        dtype: str = "float32",
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> EditableModel:
        """Load a model by name, hub id or folder.

        Args:
            name: a known name such as "smollm2-135m", a hub id such as "openai-community/gpt2-xl", a local folder, or a
                GGUF file, which is converted once.
            device: "auto" (the first GPU, else the CPU) or a name that torch knows.
            dtype: one of `DTYPES`.
            revision: of the hub id.
            trust_remote_code: run Python code that comes with the model.

        Raises:
            InputError: the model is not there, its family is unknown, or device or dtype is none.
        """
        where, name = _device(device), os.fspath(name)
        if dtype not in DTYPES:
            raise InputError(f"dtype {dtype!r} is not known; one of: {', '.join(DTYPES)}")
        folder = models.resolve(name, revision)
        architecture.of(configs.load(folder, trust_remote_code=trust_remote_code))
        hf = loading.causal_lm(folder, DTYPES[dtype], trust_remote_code=trust_remote_code)
        tokenizer = tokenizers.load(folder, trust_remote_code=trust_remote_code)
        nn.Module.to(hf, where)
        return cls(hf, tokenizer, name=name, folder=folder)

    # What it is

    @property
    def device(self) -> torch.device:
        return self.hf.device

    @property
    def dtype(self) -> torch.dtype:
        return self.hf.dtype

    @property
    def n_layers(self) -> int:
        return self.hf.config.num_hidden_layers

    @property
    def hidden_size(self) -> int:
        return self.hf.config.hidden_size

    @property
    def content(self) -> str:
        """What the unedited model is made of: a commit of the hub, or a digest of its folder, or of its tensors.

        Raises:
            InputError: the folder is another than when the model was loaded.
        """
        with self.lock:
            if self._content is None:
                self._content = self._of_memory() if self.folder is None else self._of_folder(self.folder)
            return self._content

    def _of_folder(self, folder: Path) -> str:
        found = models.content_of(folder)
        if digests.signature(folder) != self._read:
            raise InputError(f"{folder} has changed since {self.name} was loaded from it: load it again")
        return found

    def _of_memory(self) -> str:
        total = hashlib.sha256(json.dumps(self.hf.config.to_dict(), sort_keys=True, default=str).encode())
        total.update(json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode())
        for name in sorted(self._parameters):
            add_tensor(total, name, self.original(name))
        return f"memory:{total.hexdigest()}"

    def module(self, path: str) -> nn.Module:
        """The submodule at a dotted path such as "model.layers.5.mlp"."""
        return self.hf.get_submodule(path)

    def path(self, template: str, layer: int) -> str:
        """A template of the architecture with the layer filled in.

        Raises:
            InputError: there is no such layer.
        """
        if not 0 <= layer < self.n_layers:
            raise InputError(f"layer {layer} is not there: {self.name} has layers 0 to {self.n_layers - 1}")
        return template.replace("{}", str(layer))

    def block(self, layer: int) -> nn.Module:
        """The transformer block of a layer."""
        return self.module(self.path(self.architecture.block, layer))

    def mlp_out_name(self, layer: int) -> str:
        """Name of the weight that projects out of a layer's MLP, such as "model.layers.5.mlp.down_proj.weight"."""
        return f"{self.path(self.architecture.mlp_out, layer)}.weight"

    def mlp_in_names(self, layer: int) -> tuple[str, ...]:
        """Names of the weights that project into a layer's MLP: one, or gate and up."""
        return tuple(f"{self.path(template, layer)}.weight" for template in self.architecture.mlp_in)

    def names(self) -> list[str]:
        """Names of the matrices inside the blocks: what editing methods may change."""
        head = self.architecture.block.split("{}")[0]
        return [name for name, p in self._parameters.items() if p.ndim == 2 and name.startswith(head)]

    # Weights

    def weight(self, name: str) -> Tensor:
        """The live tensor of a parameter, without gradient.

        Raises:
            InputError: there is no parameter of this name.
        """
        if name not in self._parameters:
            tied = f": its head is tied to {self.architecture.embedding}.weight, which cannot be edited"
            is_head = name == f"{self.architecture.head}.weight"
            raise InputError(f"{self.name} has no parameter {name!r}{tied * is_head}")
        return self._parameters[name].data

    def original(self, name: str) -> Tensor:
        """The tensor as it was before the first change; the live one where nothing was changed."""
        live = self.weight(name)
        return self._originals.get(name, live)

    def add(self, update: Update, tied: bool = False) -> None:
        """W <- W + dW, summed in float32 (float64 for a float64 model) and rounded once to the weight's dtype.

        Nothing is changed when anything is wrong, whatever it is.

        Args:
            update: dW per parameter.
            tied: let a weight through that is token embedding and head in one.

        Raises:
            InputError: an unknown name, another shape, or a tied weight.
            UpdateError: NaN or infinity in the update, or in the sum as the weight's dtype holds it.
        """
        with self._putting_back(always=False):
            self._add(update, tied)

    def _add(self, update: Update, tied: bool) -> None:
        self._check(update, tied)
        for name in update:
            live = self.weight(name)
            wide = torch.promote_types(live.dtype, torch.float32)
            total = (live.to(wide) + update.dense(name).to(live.device, wide)).to(live.dtype)
            if not bool(torch.isfinite(total).all()):
                raise UpdateError(f"{name}: W + dW holds NaN or infinity in {str(live.dtype).removeprefix('torch.')}")
            self._write(name, total)

    def _write(self, name: str, value: Tensor) -> None:
        """All that ever changes a weight: what was there before is kept first, for whoever will put it back."""
        live = self.weight(name)
        before = None if name in self._originals else live.clone()
        for journal in self._journals:
            if name not in journal:
                before = live.clone() if before is None else before
                journal[name] = before
        if name not in self._originals and before is not None:
            self._originals[name] = before
        live.copy_(value)

    @contextlib.contextmanager
    def _putting_back(self, always: bool) -> Iterator[None]:
        """At the end of the block, or only when something is raised in it, the weights become what they were before."""
        with self.lock:
            journal: dict[str, Tensor] = {}
            originals = dict(self._originals)
            done = False
            try:
                self._journals.append(journal)
                yield
                done = True
            finally:
                if always or not done:
                    try:
                        self._put_back(journal, originals)
                    except BaseException:  # an interrupt that came just then
                        self._put_back(journal, originals)
                        raise
                self._journals = [other for other in self._journals if other is not journal]

    def _put_back(self, journal: dict[str, Tensor], originals: dict[str, Tensor]) -> None:
        for name, before in journal.items():
            self.weight(name).copy_(before)
        self._originals = originals

    def _check(self, update: Update, tied: bool) -> None:
        for name, entry in update.items():
            shape = tuple(self.weight(name).shape)
            if entry.shape != shape:
                raise InputError(f"{name}: the update has shape {entry.shape}, the weight of {self.name} has {shape}")
            if not tied and self._is_tied(name):
                raise InputError(f"{name} is both token embedding and head of {self.name} (tied); it cannot be edited")
        update.check_finite()

    def _is_tied(self, name: str) -> bool:
        embedding, head = self.hf.get_input_embeddings(), self.hf.get_output_embeddings()
        return head is not None and embedding.weight is head.weight and self._parameters[name] is head.weight

    @exclusive
    def changed(self) -> dict[str, Tensor]:
        """The live tensors that differ from their originals, by name."""
        live = {name: self.weight(name) for name in sorted(self._originals)}
        return {name: tensor for name, tensor in live.items() if not torch.equal(tensor, self._originals[name])}

    @exclusive
    def digest(self) -> str:
        """SHA-256 over names and bytes of the changed tensors; for an unedited model that of nothing."""
        total = hashlib.sha256()
        for name, tensor in self.changed().items():
            add_tensor(total, name, tensor)
        return total.hexdigest()

    @exclusive
    def restore(self) -> None:
        """Put every weight back, to the bit."""
        for name, tensor in self._originals.items():
            self._write(name, tensor)
        self._originals = {}

    @contextlib.contextmanager
    def edited(self, update: Update) -> Iterator[EditableModel]:
        """Within the context the update is added; afterwards the weights are what they were before, to the bit.

        That holds whatever happens: an error while the update is added, an interrupt, and whatever the block itself
        adds or restores. Other threads wait until the block ends.
        """
        with self._putting_back(always=True):
            self._add(update, tied=False)
            yield self

    # Use

    @exclusive
    def complete(self, prompt: str, max_new_tokens: int = 10) -> str:
        """The greedy continuation of a prompt, without the prompt and without special tokens.

        The most likely token is taken at each step, whatever the model's generation config says of sampling and
        penalties; an end-of-sequence token ends it.

        Raises:
            InputError: prompt and continuation do not fit into the model's context.
        """
        return greedy.continuation(self.hf, self.tokenizer, prompt, max_new_tokens)

    @exclusive
    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Export the model as it stands now, with its tokenizer, as a folder that transformers and vLLM load.

        Weights that the folder holds are replaced, in whichever files they are.
        """
        folder = Path(folder)
        with saving.draft(folder) as place:
            self.hf.save_pretrained(place)
        self.tokenizer.save_pretrained(folder)
        return folder


def add_tensor(total: Any, name: str, tensor: Tensor) -> None:
    """Take name, dtype, shape and bytes of a tensor into a digest of hashlib."""
    total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type in WITHOUT_FLOAT64:
            raise RuntimeError("it has no float64, in which covariances, solves and metrics are computed")
        torch.empty(0, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f"device {name!r} cannot be used ({reason(error)}); auto, cpu, cuda, cuda:1 ...") from None
    return device
